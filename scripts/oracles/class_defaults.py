"""Prints what a configuration that states nothing means: class_defaults.py MODEL_TYPE... prints one JSON object of each
type's fields, null for a type that transformers does not know or whose class asks for some."""

import json
import sys

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

transformers.logging.set_verbosity_error()


def stated(kind):
    try:
        return json.loads(CONFIG_MAPPING[kind]().get_text_config().to_json_string(use_diff=False))
    except Exception:
        return None


print(json.dumps({kind: stated(kind) for kind in sys.argv[1:]}))
