"""Options that TorchServe could not honour are refused with the way out."""

import pytest
from pydantic import ValidationError

from modelport_torchserve.options import TorchServeOptions


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"nety_threads": 8}, "nety_threads"),
        ({"address": "0.0.0.0"}, "token_authorization must be said"),
        ({"address": "models.example.com"}, "token_authorization must be said"),
        ({"address": "::1"}, "no IPv6"),
        ({"address": "127.0.0.1:8080"}, "take no port here"),
        ({"ports": {"rest": 7070}}, "rest and grpc are both 7070"),
        ({"ports": {"rest": 0}}, "greater than or equal to 1"),
        ({"allowed_urls": ["https://x/.*"]}, "add model_control: true"),
        ({"allowed_urls": ["a,b"], "model_control": True}, "splits its list at commas"),
        ({"jvm": ["-Xmx1g -Xms1g"]}, "must be one argument of java"),
        ({"jvm": ["-Dx=$$HOME$$"]}, "must be one argument of java"),
        ({"metrics_mode": "promethues"}, "prometheus"),
        ({"properties": {"asinc_logging": True}}, "did you mean 'async_logging'"),
        ({"properties": {"inference_address": "http://0.0.0.0:1"}}, "cannot be set here"),
        ({"properties": {"cors_allowed_origin": "a\nb=c"}}, "must be one line"),
        ({"handler": "handler.txt"}, "must be file.py or file.py:function"),
        ({"gpus": 0}, "greater than or equal to 1"),
    ],
)
def test_refused(raw, said):
    with pytest.raises(ValidationError) as caught:
        TorchServeOptions.model_validate(raw)
    assert said in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_loopback_needs_no_choice(address):
    assert TorchServeOptions(address=address).token_authorization is None


@pytest.mark.parametrize("choice", [True, False])
def test_choice_for_everybody(choice):
    assert TorchServeOptions(address="0.0.0.0", token_authorization=choice).token_authorization is choice
