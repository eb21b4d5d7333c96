"""Arrow 2: the stock transformers callback reports by itself, in the wire format the operator reads."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from clara_api.handoff.progress import ENV_TOKEN, ENV_URL, ProgressMessage
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


def test_steps_and_loss_reach_the_operator(tmp_path, operator, monkeypatch):
    from transformers.integrations.integration_utils import KubeflowCallback

    url, told = operator
    (tmp_path / "token").write_text("projected-token")
    path = "/v1/namespaces/amt/trainingjobs/steuerrecht-1/attempts/1"
    monkeypatch.setenv(ENV_URL, url + path)
    monkeypatch.setenv(ENV_TOKEN, str(tmp_path / "token"))
    monkeypatch.setattr(KubeflowCallback, "_MIN_UPDATE_INTERVAL", 0.0)  # it would report every five seconds
    lab = Lab(tmp_path / "lab")
    outcome = lab.do(lab.train_run())
    assert {(p, token) for p, token, _ in told} == {(path, "Bearer projected-token")}
    steps = [m.number("current_step") for _, _, m in told if m.number("current_step") is not None]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert {m.number("total_steps") for _, _, m in told if m.number("current_step")} == {6}
    assert told[-1][2].number("loss") == pytest.approx(outcome.loss)


def test_an_operator_that_is_away_does_not_stop_the_run(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv(ENV_URL, "http://127.0.0.1:9/nobody")
    monkeypatch.setenv(ENV_TOKEN, str(tmp_path / "token"))
    lab = Lab(tmp_path / "lab")
    assert lab.do(lab.train_run()).result == "Succeeded"
