"""A repetition runs in a pod like the one that trained, and tells nobody but the person who asked."""

import pytest
from clara_api import labels
from kubectl_clara.reproduce_job import attempt_of, build

ADAPTER = {
    "metadata": {
        "name": "steuerrecht-1.0.0",
        "namespace": "recht",
        "labels": {labels.TRAINING_JOB: "steuerrecht-first"},
    },
    "spec": {"artifact": {"uri": "s3://clara/adapters/recht/steuerrecht/uid/2", "digest": "sha256:00"}},
}
TRAINED = {
    "metadata": {"name": "steuerrecht-first-train-2", "namespace": "recht", "uid": "u"},
    "spec": {
        "activeDeadlineSeconds": 60,
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {
            "metadata": {
                "labels": {labels.TRAINING_JOB: "steuerrecht-first", "batch.kubernetes.io/controller-uid": "u"}
            },
            "spec": {
                "serviceAccountName": "clara-trainer",
                "containers": [
                    {
                        "name": "trainer",
                        "image": "registry/clara-trainer:1",
                        "args": ["/clara/run/run.json"],
                        "env": [{"name": "KUBEFLOW_TRAINER_SERVER_URL", "value": "x"}, {"name": "HOME", "value": "/s"}],
                        "resources": {"limits": {"cpu": "1"}},
                    }
                ],
            },
        },
    },
}


def test_the_pod_is_the_one_that_trained_with_another_order():
    job = build(TRAINED, ADAPTER, "clara-reproduce-1", approximate=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["reproduce", "s3://clara/adapters/recht/steuerrecht/uid/2", "--approximate"]
    assert container["image"] == "registry/clara-trainer:1"
    assert container["resources"] == {"limits": {"cpu": "1"}}
    assert container["env"] == [{"name": "HOME", "value": "/s"}]
    assert TRAINED["spec"]["template"]["spec"]["containers"][0]["args"] == ["/clara/run/run.json"], (
        "the original is kept"
    )


def test_the_operator_does_not_take_it_for_an_attempt():
    job = build(TRAINED, ADAPTER, "clara-reproduce-1", approximate=False)
    for marks in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels.TRAINING_JOB not in marks
        assert "batch.kubernetes.io/controller-uid" not in marks
    assert "selector" not in job["spec"]


def test_the_attempt_is_read_from_the_artifact():
    assert attempt_of(ADAPTER) == ("steuerrecht-first", "2")


def test_an_adapter_that_a_person_brought_is_not_repeated():
    with pytest.raises(ValueError, match="brought by a person"):
        attempt_of({"metadata": {"name": "x"}, "spec": ADAPTER["spec"]})
