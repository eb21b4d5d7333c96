"""The store's errors are three different things: ask again, there is none, or a person must act."""

import pytest
from clara_api.uris import parse
from clara_trainer.objects import Copied, Missing, Objects, Temporary
from clara_trainer.outcome import Failure
from clara_trainer.volume_store import VolumeStore


class Flaky:
    """A store that fails a number of times."""

    def __init__(self, failures):
        self.left = failures

    def size(self, place):
        if self.left:
            self.left -= 1
            raise Temporary("503 SlowDown")
        return 7


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def claim(tmp_path):
    folder = tmp_path / "volumes" / "daten"
    folder.mkdir(parents=True)
    return folder


def objects(tmp_path, **options):
    return Objects(tmp_path / "volumes", **options)


def flaky(tmp_path, failures, time):
    store = objects(tmp_path, patience=120, sleep=time.sleep, clock=lambda: time.now)
    store._opened["volume"] = Flaky(failures)
    return store


def test_temporary_errors_are_asked_again_with_growing_pauses(tmp_path):
    time = Time()
    assert flaky(tmp_path, 4, time).size("volume://daten/a") == 7
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


def test_patience_ends_after_two_minutes(tmp_path):
    time = Time()
    with pytest.raises(Failure, match=r"did not serve volume://daten/a within 120 s: 503 SlowDown") as error:
        flaky(tmp_path, 1000, time).size("volume://daten/a")
    assert error.value.failure == "StoreUnreachable"
    assert 60 < time.now <= 120


def test_what_is_written_is_read_back(tmp_path, claim):
    store = objects(tmp_path)
    store.write(b"hallo", "volume://daten/a/b.json")
    assert store.read("volume://daten/a/b.json", limit=10) == b"hallo"
    assert [(e.path, e.size) for e in store.list("volume://daten/a")] == [("b.json", 5)]
    copied = store.download("volume://daten/a/b.json", tmp_path / "copy")
    assert copied == Copied(5, "d3751d33f9cd5049c4af2b462735457e4d3baf130bcbb87f389e349fbaeb20b9")


def test_missing_objects_are_none_and_missing_folders_are_empty(tmp_path, claim):
    store = objects(tmp_path)
    assert store.read("volume://daten/none", limit=10) is None
    assert store.size("volume://daten/none") is None
    assert store.list("volume://daten/none") == []


def test_a_huge_object_is_not_read_into_memory(tmp_path, claim):
    (claim / "big").write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="more than 10"):
        objects(tmp_path).read("volume://daten/big", limit=10)


def test_a_symbolic_link_does_not_lead_out_of_the_claim(tmp_path, claim):
    (tmp_path / "secret").write_text("x")
    (claim / "link").symlink_to(tmp_path / "secret")
    (claim / "up").symlink_to(tmp_path)
    for uri in ("volume://daten/link", "volume://daten/up/secret"):
        with pytest.raises(Failure, match="leads out of its claim"):
            objects(tmp_path).read(uri, limit=10)
    with pytest.raises(Failure, match="leads out of its claim"):
        objects(tmp_path).write(b"x", "volume://daten/up/new")


def test_an_unmounted_claim_is_named(tmp_path, claim):
    with pytest.raises(Failure, match="the claim 'andere' of volume://andere/a is not mounted"):
        objects(tmp_path).size("volume://andere/a")


def test_an_upload_that_fails_leaves_the_old_object_whole(tmp_path, claim):
    (claim / "a").write_bytes(b"alt")
    with pytest.raises(Missing):
        VolumeStore(tmp_path / "volumes").upload(tmp_path / "no such source", parse("volume://daten/a"))
    assert (claim / "a").read_bytes() == b"alt"
    assert [path.name for path in claim.iterdir()] == ["a"]
