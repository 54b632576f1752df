"""A strict JSON Schema of the fields of a JobSet (jobset.x-k8s.io/v1alpha2) that launch/ writes.

The API of JobSet drops unknown fields; here they are errors.  The templates of the jobs are those
of Kubernetes, and are checked as such.
"""


def strict(required: dict, **optional: dict) -> dict:
    """A schema of an object that has no other fields."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RULE = strict(
    {
        "name": {"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
        "action": {"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
    },
    onJobFailureReasons={
        "type": "array",
        "items": {
            "enum": [
                "BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded",
                "PodFailurePolicy",
            ]
        },
    },
    targetReplicatedJobs={"type": "array", "items": NAME},
)  # fmt: skip
REPLICATED_JOB = strict(
    {
        "name": NAME,
        "template": strict({"spec": {"type": "object"}}, metadata={"type": "object"}),
    },
    replicas=COUNT,
    dependsOn={
        "type": "array",
        "maxItems": 1,
        "items": strict({"name": NAME, "status": {"enum": ["Ready", "Complete"]}}),
    },
)
SPEC = strict(
    {"replicatedJobs": {"type": "array", "minItems": 1, "items": REPLICATED_JOB}},
    failurePolicy=strict(
        {"maxRestarts": COUNT},
        restartStrategy={"enum": ["Recreate", "BlockingRecreate"]},
        rules={"type": "array", "items": RULE},
    ),
    network=strict(
        {},
        enableDNSHostnames={"type": "boolean"},
        publishNotReadyAddresses={"type": "boolean"},
        subdomain=NAME,
    ),
)
JOBSET = strict(
    {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": strict({"name": NAME}, namespace=NAME, labels=TEXTS, annotations=TEXTS),
        "spec": SPEC,
    }
)
