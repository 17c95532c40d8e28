"""The demo model: answers from the prompt, without a language model, and says so."""

from coachstream.language.demo.model import DISPLAY_NAME, DemoModel, Fault

__all__ = ["DISPLAY_NAME", "DemoModel", "Fault"]
