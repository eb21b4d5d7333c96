"""Never the wrong model: what the gateway says to names it cannot answer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import clara_chain as chain
import pytest

QUESTION = "Wann gilt ein Bescheid als bekannt gegeben?"


@pytest.mark.parametrize("model", [None, "", 7, ["steuerrecht"]])
def test_a_missing_or_malformed_model_is_a_bad_request(served: chain.Base, model: object):
    answer = chain.ask(model, QUESTION)
    assert answer.status == 400
    assert "model" in answer.error["message"]


@pytest.mark.parametrize(
    "model",
    ["sozialrecht", "steuerrecht-9.9.9", "finanzen/steuerrecht", "../steuerrecht", "steuerrecht-1.0.0-deadbeef"],
)
def test_an_unknown_model_is_not_found_and_never_the_base(served: chain.Base, model: str):
    answer = chain.ask(model, QUESTION)
    assert answer.status == 404
    assert "choices" not in answer.body


@pytest.mark.parametrize(
    "path",
    ["/invocations", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/tokenize", "/v1/embeddings"],
)
def test_only_allow_listed_paths_are_proxied(served: chain.Base, path: str):
    assert chain.post(path, {"model": "steuerrecht", "lora_name": "x", "lora_path": "/etc"}).status == 404


def test_broken_json_is_said_with_its_place(served: chain.Base):
    answer = chain.post("/v1/chat/completions", b'{"model": "steuerrecht", "messages": [}')
    assert answer.status == 400


def test_an_engine_refuses_whoever_is_not_the_gateway(served: chain.Base):
    engines = json.loads(chain.kubectl("get", "engines.clara.vcc.dev", "-n", "recht", "-o", "json"))["items"]
    assert engines
    for engine in engines:
        for path in ("/v1/models", "/v1/completions", "/invocations", "/v1/load_lora_adapter"):
            request = urllib.request.Request(
                f"http://{engine['spec']['address']}{path}", data=b"{}" if path != "/v1/models" else None
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=5)
            assert refused.value.code in (401, 404)
