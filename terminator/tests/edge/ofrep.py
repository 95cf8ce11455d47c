"""Asks a terminator for flags as an application does: OpenFeature's SDK with PyPI's openfeature-provider-ofrep.

    ofrep.py URL

Prints one JSON object with the answers.
"""
import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

api.set_provider(OFREPProvider(sys.argv[1]))
client = api.get_client()
ann = EvaluationContext("ann", {"country": "DE"})
bob = EvaluationContext("bob", {"country": "FR"})


def plain(details):
    reason = getattr(details.reason, "value", details.reason)
    code = getattr(details.error_code, "value", details.error_code)
    return {"value": details.value, "reason": reason, "variant": details.variant, "error": code}


print(
    json.dumps(
        {
            "boolean": [plain(client.get_boolean_details("german", False, user)) for user in (ann, bob)],
            "string": [plain(client.get_string_details("colour", "none", user)) for user in (ann, bob)],
            "object": [plain(client.get_object_details("limits", {"max": 0}, user)) for user in (ann, bob)],
            "unknown": plain(client.get_boolean_details("unknown", True, ann)),
        }
    )
)
