"""The demo model composes replies from the prompt, without a language model, and labels them."""

from coachstream.language.demo.model import DISPLAY_NAME, DemoModel, Fault

__all__ = ["DISPLAY_NAME", "DemoModel", "Fault"]
