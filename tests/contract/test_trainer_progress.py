"""Arrow 2: a run reports its phases and steps in KEP-2779's wire format, which the operator reads; stock images do too."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from clara_api.handoff.progress import ENV_TOKEN, ENV_URL, ProgressMessage
from clara_trainer import reporter
from clara_trainer.reporter import Reporter
from trainer_lab import Lab


@pytest.fixture
def operator():
    """A real HTTP server that keeps what it is told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, self.headers["Authorization"], ProgressMessage.model_validate_json(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    thread.join()


PATH = "/v1/namespaces/amt/trainingjobs/steuerrecht-1/attempts/1"


@pytest.fixture
def reporting(tmp_path, operator, monkeypatch):
    """The surroundings of a pod that reports to `operator`."""
    url, told = operator
    (tmp_path / "token").write_text("projected-token")
    monkeypatch.setenv(ENV_URL, url + PATH)
    monkeypatch.setenv(ENV_TOKEN, str(tmp_path / "token"))
    monkeypatch.setattr(reporter, "INTERVAL", 0.0)
    return told


def test_phases_steps_and_loss_reach_the_operator(tmp_path, reporting):
    lab = Lab(tmp_path / "lab")
    outcome = lab.do(lab.train_run())
    assert {(path, token) for path, token, _ in reporting} == {(PATH, "Bearer projected-token")}
    assert reporting[0][2].text("phase") == "starts"
    last = reporting[-1][2]
    assert last.text("phase") == "publishes the artifact"
    assert (last.number("current_step"), last.number("total_steps")) == (6, 6)
    assert last.number("micro_batch_size") == 8
    assert last.number("loss") == pytest.approx(outcome.loss, abs=0.2)


def test_a_message_between_two_moments_is_replaced_and_not_queued(tmp_path, operator):
    url, told = operator
    (tmp_path / "token").write_text("t")
    talker = Reporter({ENV_URL: url + PATH, ENV_TOKEN: str(tmp_path / "token")}, interval=0.2)
    for step in range(1000):
        talker.say(current_step=step)
    talker.close()
    assert told[-1][2].number("current_step") == 999
    assert len(told) <= 3


def test_what_a_stock_transformers_image_reports_is_read_too(tmp_path, operator, monkeypatch):
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations.integration_utils import KubeflowCallback

    url, told = operator
    (tmp_path / "token").write_text("projected-token")
    monkeypatch.setenv(ENV_URL, url + PATH)
    monkeypatch.setenv(ENV_TOKEN, str(tmp_path / "token"))
    callback, state = KubeflowCallback(), TrainerState(max_steps=6, global_step=0)
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[])
    callback.on_train_begin(arguments, state, TrainerControl())
    state.global_step, callback._last_update_time = 3, 0.0
    callback.on_step_end(arguments, state, TrainerControl())
    assert [(m.number("current_step"), m.number("total_steps")) for _, _, m in told] == [(None, 6), (3, 6)]


def test_an_operator_that_is_away_does_not_stop_the_run(tmp_path, monkeypatch, caplog):
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv(ENV_URL, "http://127.0.0.1:9/nobody")
    monkeypatch.setenv(ENV_TOKEN, str(tmp_path / "token"))
    lab = Lab(tmp_path / "lab")
    assert lab.do(lab.train_run()).result == "Succeeded"
    assert caplog.text.count("progress cannot be reported") == 1
