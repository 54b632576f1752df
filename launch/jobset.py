"""The texts of a JobSet (jobset.x-k8s.io/v1alpha2), filled in by gke.py."""

MANIFEST = """\
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {name}
  namespace: {namespace}
{metadata}spec:
  network: {{enableDNSHostnames: true}}
{policy}  replicatedJobs:
{jobs}"""
RUN_METADATA = """\
  annotations:
    # Each slice has a node pool of its own.
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
"""
RUN_POLICY = """\
  failurePolicy:
    maxRestarts: {restarts}
    restartStrategy: BlockingRecreate  # New pods start when the old ones are gone.
    rules:
      - name: savedOrEvicted
        action: RestartJobSetAndIgnoreMaxRestarts
        onJobFailureReasons: [PodFailurePolicy]
"""
SWEEP_POLICY = """\
  failurePolicy:
    maxRestarts: 0
"""
# One Job is one slice.  The JobSet restarts all pods if one ends with a failure.
RUN_JOB = """\
- name: workers
  replicas: {slices}
  template:
    spec:
      completionMode: Indexed
      completions: {hosts}
      parallelism: {hosts}
      backoffLimit: 0
      podFailurePolicy:
        rules:
          - action: FailJob
            onExitCodes: {{containerName: avjax, operator: In, values: [75]}}
          - action: FailJob
            onPodConditions: [{{type: DisruptionTarget, status: "True"}}]
      template:
"""
# Pod N does run `offset` + N.  A pod that saved or was evicted is made again.
SWEEP_JOB = """\
- name: {job}
{after}  replicas: 1
  template:
    spec:
      completionMode: Indexed
      completions: {runs}
      parallelism: {parallel}
      backoffLimitPerIndex: {restarts}
      podFailurePolicy:
        rules:
          - action: Ignore
            onExitCodes: {{containerName: avjax, operator: In, values: [75]}}
          - action: Ignore
            onPodConditions: [{{type: DisruptionTarget, status: "True"}}]
      template:
"""
POD = """\
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: {grace}
  nodeSelector:
{selector}{tolerations}  containers:
    - name: avjax
      image: {image}
      command: {command}
      env:
{env}      resources:
        limits:
          {resource}: {devices}
{mounts}{volumes}"""
SPOT = """\
  tolerations:
    - {key: cloud.google.com/gke-spot, operator: Equal, value: "true", effect: NoSchedule}
"""
PROCESS_ID = """\
- name: AVJAX_PROCESS_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
"""
