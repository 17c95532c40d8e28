"""The phrases of three voices, selected by the prompt's description of the coach's character."""

from __future__ import annotations

import re

import msgspec

Phrases = tuple[str, ...]


class Voice(msgspec.Struct, frozen=True):
    """The phrases of one character; the reply fills in `{...}`."""

    signs: frozenset[str]
    greeting: Phrases
    thanks: Phrases
    pain: Phrases
    plan: Phrases
    report: Phrases
    question: Phrases
    statement: Phrases
    passage: Phrases
    memory: Phrases
    workout: Phrases
    earlier: Phrases
    steps: tuple[Phrases, ...]
    closing: Phrases


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CALM = Voice(
    signs=_words("calm exact kind patient gentle plain precise steady quiet warm-hearted reason"),
    greeting=(
        "Good {daytime}. It is {weekday}, so let us see what today needs.",
        "Good {daytime}, and good to hear from you on a {weekday}.",
    ),
    thanks=(
        "You are welcome. The work is yours; I only keep the notes.",
        "Gladly. It is easy to coach somebody who tells me how it went.",
    ),
    pain=(
        (
            "Thank you for telling me early: that is exactly when something can still be changed. "
            "Rate it from 0 to 10 before you begin. Above 3 we change the exercise, not the effort, "
            "and sharp pain ends the set."
        ),
        (
            "Let us be careful here and change one thing only, so that we learn what helped. If it is "
            "worse tomorrow, somebody should look at it."
        ),
    ),
    plan=(
        "Here is how I would lay it out. Nothing in it is heroic, and that is the point.",
        "A simple order works best here; quality first, load second.",
    ),
    report=(
        (
            "That is a clean piece of work, and I have read it twice. What stands out is that you "
            "stayed in control."
        ),
        "Well done. Progress of this kind is quiet, and it lasts.",
    ),
    question=(
        "A good question. You ask: {quote} Let me answer it from what I know of you.",
        "You ask: {quote} The short answer is that it depends on one or two things I have in my notes.",
    ),
    statement=(
        "I hear you: {quote} Let us look at it calmly.",
        "Noted: {quote} Let me put that next to what I know.",
    ),
    passage=(
        "The principle behind it, {title}: {text}",
        "What I would go by here is {title}. {text}",
    ),
    memory=(
        "I also keep in mind what you told me: {text}",
        "My notes on you say: {text} I would let that decide the details.",
    ),
    workout=(
        "For comparison, {when}: {text} We build on that, one small step at a time.",
        "Your last entry, {when}, says: {text} That is the base to start from.",
    ),
    earlier=(
        "Earlier you wrote {quote}, and this belongs to the same thread.",
        "It fits with what you said before, {quote}",
    ),
    steps=(
        (
            "Warm up for eight minutes, the last two with an empty bar.",
            "Begin with six easy minutes and two light sets.",
        ),
        (
            "Do the main lift first, and stop while one good repetition is left.",
            "Five clean sets; a slow one ends the day's load.",
        ),
        (
            "Finish with one accessory and two minutes of easy breathing.",
            "Note one number and one word on how it felt.",
        ),
    ),
    closing=(
        "How does that sit with the time you have today?",
        "Which of these would you like to look at first?",
        "What would make the next session one step easier to begin?",
    ),
)

LIVELY = Voice(
    signs=_words(
        "loud funny playful game energy energetic fun exclamation celebrate hype cheer friend party relaxed"
    ),
    greeting=(
        "Hey, good {daytime}! A {weekday} is a fine day for a bit of trouble.",
        "There you are! Good {daytime}. {weekday} just got more interesting.",
    ),
    thanks=(
        "Any time! High five through the screen. 🙌",
        "Ha, thank your legs, they did the work! 💪🏽",
    ),
    pain=(
        (
            "Whoa, hold that thought. Pain is the referee, and the referee always wins. Scale it "
            "back, swap the move, and if it is sharp, we stop and somebody qualified has a look."
        ),
        "Okay, plan B, and plan B is still fun. No hero points for pushing through pain here!",
    ),
    plan=(
        "Right, here is the game. Keep score, because I will ask!",
        "Small room, big session. Three rounds of fun, coming up:",
    ),
    report=(
        "Boom! You showed up, and that is already the first point on the board.",
        "Look at that! Somebody has been eating their greens. 🔥",
    ),
    question=(
        "Ooh, {quote} I like where this is going.",
        "{quote} Great, I was hoping you would ask!",
    ),
    statement=(
        "{quote} Okay! I can work with that.",
        "Got it: {quote} Let us make something of it.",
    ),
    passage=(
        "Coach's secret number one, {title}: {text}",
        "From the playbook, {title}. {text}",
    ),
    memory=(
        "And I did not forget: {text} That stays on the whiteboard.",
        "My sticky note on you says: {text} So we play by that rule.",
    ),
    workout=(
        "Last time on the board, {when}: {text} That is the score to beat!",
        "{when}, you did this: {text} Round two, anyone?",
    ),
    earlier=(
        "Same story as when you said {quote}, right?",
        "And there was this: {quote} I have not let that go.",
    ),
    steps=(
        ("Five minutes to get warm. Silly walks count.", "Warm up until you want to take the jacket off."),
        (
            "Three rounds, one minute each, one minute off. Count every rep!",
            "Every minute on the minute, ten times, ten reps.",
        ),
        (
            "Last round: beat your first by one. Then a victory lap.",
            "Cool down, drink something, send me the score.",
        ),
    ),
    closing=(
        "So, what is your number to beat today?",
        "In or in? Tell me when you start!",
        "What song is on for the last round?",
    ),
)

STRICT = Voice(
    signs=_words(
        "direct technical strict demanding competitive standard discipline tough challenge "
        "challenges intense push"
    ),
    greeting=(
        "Good {daytime}. {weekday}. Ready when you are.",
        "Good {daytime}. You are here; that is the first standard met.",
    ),
    thanks=("Noted. Repay it with one clean session.", "Good. Now keep the streak."),
    pain=(
        (
            "Stop there. Pain changes the plan: lower the load by a fifth, shorten the range, no "
            "jumping. If it is sharp or still there tomorrow, get it examined before the next "
            "session."
        ),
        "First rule: no training through pain. Second rule: report it, as you did.",
    ),
    plan=(
        "Here is the order. Do not trade items.",
        "Three blocks. Each has a standard; meet it before you move on.",
    ),
    report=(
        "Solid. Now tell me which set was the worst, because that is where the next kilo is.",
        "That counts. Same standard next time.",
    ),
    question=("Your question: {quote} Direct answer below.", "{quote} Let us be specific."),
    statement=("Understood: {quote}", "{quote} Fine. Then this is what follows."),
    passage=("The rule, {title}: {text}", "Technique note, {title}. {text}"),
    memory=("Constraint on file: {text}", "You set this yourself: {text} It still holds."),
    workout=(
        "Baseline, {when}: {text} Beat it by one unit, not by five.",
        "{when}: {text} That is the mark.",
    ),
    earlier=("You said {quote}, so no surprises here.", "Consistent with {quote}"),
    steps=(
        ("Warm-up: 8 minutes, then two ramp-up sets.", "Prepare: hips, ankles, shoulders, 90 seconds each."),
        (
            "Main block: 5 sets, 2 to 3 minutes of rest, no missed repetition.",
            "Main block: 4 heavy sets, same depth every time.",
        ),
        (
            "Finish: 2 accessories, 3 sets each, then log it.",
            "Finish: 10 minutes steady, then write down every load.",
        ),
    ),
    closing=(
        "When do you start?",
        "What load do you put on the bar first?",
        "Which standard will you miss if nobody watches?",
    ),
)

VOICES = (CALM, LIVELY, STRICT)


def voice_of(character: str) -> Voice:
    """The voice with the most signs in the description; the calm one on a tie."""
    words = re.findall(r"[a-z-]+", character.lower())
    return max(VOICES, key=lambda voice: sum(word in voice.signs for word in words))
