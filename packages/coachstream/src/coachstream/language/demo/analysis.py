"""`RuleAnalyser`: finds workouts and requests to remember something by rules, for the demo.

A workout is a clause in which the user says that they have done something, with an exercise or a quantity;
or one with an exercise in sets, as in a training log. A request is a clause that tells the coach to remember.
A clause counts for nothing if it denies, asks, plans, imagines, or is about someone else; nor does what is
quoted, or a message that jokes. Where the rules are unsure, they find nothing: a workout that is missed can
be logged by command, one that is invented has to be deleted.

`make evaluate` measures them. They are no replacement for a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from coachstream.conversation.analysis import MemoryTraits, MessageAnalysis
from coachstream.conversation.model import Importance
from coachstream.language.demo.intent import Intent, intent_of
from coachstream.language.demo.languages import LANGUAGES, Language

Languages = Sequence[Language]

SURE = 0.9
"""The confidence of a rule that applies; without one it is 0."""

_QUOTED = re.compile(
    r"\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|(?<!\w)'[^']{3,}'(?!\w)|^\s*>.*$",
    re.MULTILINE,
)
_CLAUSE = re.compile(r"[^.!?;\n]*(?:\.(?=\S)[^.!?;\n]*)*[.!?;\n]*")
"""Up to a mark; the point of `107.5 kg` is none."""

_QUANTITY = re.compile(
    r"\b\d+\s*[x\u00d7*]\s*\d+|\b\d+(?:[.,]\d+)?\s*(?:kg|kilos?|lbs?|pounds?|km|k|m|miles?|mi|min(?:ut\w*|s)?|h|"
    r"hours?|"
    r"stunden?|horas?|heures?|ore|reps?|wdh|wiederholungen|repeticiones|répétitions|ripetizioni|repetições|"
    r"sets?|sätze|series|séries|serie|rounds?|runden|rondas|tours|giri|rundas|laps?|bahnen|largos|longueurs|"
    r"vasche|piscinas)\b",
    re.IGNORECASE,
)
_SETS = re.compile(r"\b\d+\s*[x\u00d7*]\s*\d+")
_JOKE = re.compile(
    r"\blol\b|\bjk\b|\bkidding\b|\bjoking\b|\bdreams?\b|\bfridge\b|\bhaha|\bgeträumt\b|\bträume\w*\b|"
    r"\bkühlschrank\b|\bscherz\b|\b(?:ja){2,}|\bnevera\b|\bsueños\b|\bmdr\b|\bfrigo\b|\brêves?\b|\b(?:ah){2,}|"
    r"\bsogni\b|\bk{3,}\b|\bgeladeira\b|\bsonhos\b",
    re.IGNORECASE,
)
_SMALL_TALK = {Intent.GREETING, Intent.THANKS}

_TRAITS: tuple[tuple[str, MemoryTraits], ...] = (
    (
        (r"allerg|alérgic|intoler|unverträglich"),
        MemoryTraits("constraint", Importance.HIGH, tags=("allergy", "health")),
    ),
    (
        (
            r"injur|pain|hurt|torn|surgery|asthma|diabet|pregnan|verletz|schmerz|schwanger|lesi[oó]n|dolor|"
            r"embaraz|"
            r"blessur|douleur|enceinte|infortun|dolore|incinta|lesão|dor\b|grávida|knee|knie|rodilla|genou|"
            r"ginocchio|joelho"
        ),
        MemoryTraits("constraint", Importance.HIGH, tags=("injury", "health")),
    ),
    (
        (r"\bgoal|\bziel|objeti?vo|objectif|obiettivo|marathon|marat[oó]n|maratona"),
        MemoryTraits("goal", Importance.HIGH, tags=("goal",)),
    ),
    (
        (
            r"from now on|call me|always|never|ab jetzt|nenn mich|immer|nie\b|a partir de ahora|ll[aá]mame|"
            r"siempre|nunca|"
            r"à partir de maintenant|appelle|toujours|jamais|d'ora in poi|chiamami|sempre|mai\b|"
            r"a partir de agora|chama-me"
        ),
        MemoryTraits("instruction", Importance.MEDIUM, True, ("instruction",)),
    ),
    (
        (
            r"prefer|like|love|hate|mag\b|liebe|hasse|lieber|prefiero|gusta|odio|préfère|aime|déteste|"
            r"preferisco|piace|"
            r"prefiro|gosto|odeio"
        ),
        MemoryTraits("preference", Importance.MEDIUM, tags=("preference",)),
    ),
)
_OTHERWISE = MemoryTraits("context", Importance.MEDIUM, tags=("context",))


class RuleAnalyser:
    """A `MessageAnalyser` without a model; never fails."""

    async def analyse(self, text: str) -> MessageAnalysis:
        """Analyse a message (see `MessageAnalyser`)."""
        return analysis_of(text)


def analysis_of(text: str) -> MessageAnalysis:
    """The verdict of the rules on a message."""
    written, text = text, text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    languages = languages_of(text)
    clauses = list(_clauses(text))
    memory_text = next(filter(None, (_memory_in(clause, languages) for clause in clauses)), "")
    at = text.find(memory_text)
    has_workout = not _JOKE.search(text) and any(_is_workout(clause, languages) for clause in clauses)
    return MessageAnalysis(
        workout_confidence=SURE if has_workout else 0.0,
        memory_confidence=SURE if memory_text else 0.0,
        memory_text=written[at : at + len(memory_text)] if at >= 0 else "",
        traits=_traits_of(memory_text or text),
        is_complex=any(_is_complex(clause, languages) for clause in clauses),
        needs_search=intent_of(text) not in _SMALL_TALK,
        language=languages[0].code,
    )


def languages_of(text: str) -> Languages:
    """The language with the most function words in the text; several, if a short text does not tell."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = [sum(word in language.words for word in words) for language in LANGUAGES]
    most = max(counts)
    return tuple(language for language, count in zip(LANGUAGES, counts, strict=True) if count == most)


def _clauses(text: str) -> Iterator[str]:
    unquoted = _QUOTED.sub(" ", text)
    return (clause.strip() for clause in _CLAUSE.findall(unquoted) if clause.strip())


def _is_workout(clause: str, languages: Languages) -> bool:
    if clause.endswith("?") or any(language.unreal.search(clause) for language in languages):
        return False
    has_exercise = any(language.exercises.search(clause) for language in languages)
    if has_exercise and _SETS.search(clause):
        return True
    is_done = any(language.done.search(clause) for language in languages)
    return is_done and (has_exercise or _QUANTITY.search(clause) is not None)


def _memory_in(clause: str, languages: Languages) -> str:
    """What a clause asks to remember; empty if it does not."""
    if any(language.no_request.search(clause) for language in languages):
        return ""
    for language in languages:
        request = language.remember.search(clause)
        if request is not None:
            return clause[request.end() :].strip(" ,:.!?;\n") or clause
    return ""


def _is_complex(clause: str, languages: Languages) -> bool:
    return not clause.endswith("?") and any(language.upheaval.search(clause) for language in languages)


def _traits_of(text: str) -> MemoryTraits:
    for pattern, traits in _TRAITS:
        if re.search(pattern, text, re.IGNORECASE):
            return traits
    return _OTHERWISE
