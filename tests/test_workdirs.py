"""A folder holds runs of one config."""

import pytest

from avjax.workdirs import claim


def config(**more):
    return {"seed": 0, "steps": 8, "study": {"seeds": [0, 1], "report": {"fn": "f"}}} | more


def test_a_folder_refuses_another_config_and_names_what_differs(tmp_path):
    claim(tmp_path, config())
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        claim(tmp_path, config(seed=1))
    with pytest.raises(ValueError, match="study.seeds.1 was 1, is 2"):
        claim(tmp_path, config(study={"seeds": [0, 2], "report": {"fn": "f"}}))


def test_a_run_may_be_lengthened_and_its_report_changed(tmp_path):
    claim(tmp_path, config())
    claim(tmp_path, config(steps=16, study={"seeds": [0, 1], "report": {"fn": "g", "k": 3}}))
