"""How the agent reads vLLM's metrics page."""

from __future__ import annotations

from clara_agent.vllm import read_metrics

PAGE = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.76e+09
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny-de"} 2.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny-de"} 1.0
# HELP vllm:num_requests_waiting_by_reason Waiting requests by reason.
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny-de",reason="capacity"} 1.0
# HELP vllm:lora_requests_info Running stats on lora requests.
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="2",running_lora_adapters="old",waiting_lora_adapters=""} 1.70e+09
vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b",waiting_lora_adapters="c"} 1.71e+09
"""


def test_the_newest_sample_names_the_running_and_waiting_adapters():
    scrape = read_metrics(PAGE)
    assert scrape.active == {"a", "b", "c"}
    assert scrape.unfinished == 3
    assert scrape.process == "1760000000.000"


def test_with_nothing_unfinished_nothing_is_active_whatever_the_last_sample_says():
    idle = PAGE.replace('"tiny-de"} 2.0', '"tiny-de"} 0.0').replace('"tiny-de"} 1.0', '"tiny-de"} 0.0')
    assert read_metrics(idle).active == frozenset()


def test_an_engine_without_these_series_runs_nothing_and_has_no_identity():
    assert read_metrics("") == read_metrics("other 1\n")
    assert read_metrics("").process is None
