"""The sentences of `Contextual` events: static, in a few languages, English for all others.

They say what was done, in the past tense, and are sent after it. A workout is handed off, not logged: the
function that takes it may find nothing in it to log.
"""

from __future__ import annotations

from collections.abc import Mapping

from coachstream.conversation.events import Contextual, Stage
from coachstream.conversation.prompt.quoting import shortened

DEFAULT_LANGUAGE = "en"

MOST_QUOTED_CHARS = 200

SENTENCES: Mapping[str, Mapping[Stage, str]] = {
    "en": {
        Stage.MEMORY_SAVED: "Saved to memory: “{memory}”",
        Stage.MEMORY_NOT_SAVED: "This could not be saved to memory. Please ask again in a moment.",
        Stage.MEMORY_WITHDRAWN: "It was removed from memory again.",
        Stage.WORKOUT_HANDED_OFF: "Workout sent to your training log.",
        Stage.WORKOUT_NOT_HANDED_OFF: "The workout could not be sent to your training log. Please send it "
        "again with /log-workout.",
    },
    "de": {
        Stage.MEMORY_SAVED: "Gemerkt: „{memory}“",
        Stage.MEMORY_NOT_SAVED: "Das konnte nicht gespeichert werden. Bitte versuche es gleich noch einmal.",
        Stage.MEMORY_WITHDRAWN: "Das wurde wieder aus dem Gedächtnis gelöscht.",
        Stage.WORKOUT_HANDED_OFF: "Training an dein Trainingstagebuch übergeben.",
        Stage.WORKOUT_NOT_HANDED_OFF: "Das Training konnte nicht an dein Trainingstagebuch übergeben werden. "
        "Bitte sende es noch einmal mit /log-workout.",
    },
    "es": {
        Stage.MEMORY_SAVED: "Guardado en la memoria: «{memory}»",
        Stage.MEMORY_NOT_SAVED: "No se ha podido guardar. Inténtalo de nuevo en un momento.",
        Stage.MEMORY_WITHDRAWN: "Se ha vuelto a borrar de la memoria.",
        Stage.WORKOUT_HANDED_OFF: "Entrenamiento enviado a tu diario.",
        Stage.WORKOUT_NOT_HANDED_OFF: "No se ha podido enviar el entrenamiento a tu diario. Envíalo de nuevo "
        "con /log-workout.",
    },
    "fr": {
        Stage.MEMORY_SAVED: "Mémorisé : « {memory} »",
        Stage.MEMORY_NOT_SAVED: "Impossible de le mémoriser. Réessayez dans un instant.",
        Stage.MEMORY_WITHDRAWN: "Cela a été retiré de la mémoire.",
        Stage.WORKOUT_HANDED_OFF: "Séance transmise à votre journal d'entraînement.",
        Stage.WORKOUT_NOT_HANDED_OFF: "La séance n'a pas pu être transmise à votre journal d'entraînement. "
        "Renvoyez-la avec /log-workout.",
    },
    "it": {
        Stage.MEMORY_SAVED: "Memorizzato: «{memory}»",
        Stage.MEMORY_NOT_SAVED: "Non è stato possibile memorizzarlo. Riprova tra un momento.",
        Stage.MEMORY_WITHDRAWN: "È stato di nuovo rimosso dalla memoria.",
        Stage.WORKOUT_HANDED_OFF: "Allenamento inviato al tuo diario.",
        Stage.WORKOUT_NOT_HANDED_OFF: "Non è stato possibile inviare l'allenamento al tuo diario. Invialo di "
        "nuovo con /log-workout.",
    },
    "pt": {
        Stage.MEMORY_SAVED: "Guardado na memória: «{memory}»",
        Stage.MEMORY_NOT_SAVED: "Não foi possível guardar. Tente de novo daqui a pouco.",
        Stage.MEMORY_WITHDRAWN: "Foi removido da memória.",
        Stage.WORKOUT_HANDED_OFF: "Treino enviado para o seu diário.",
        Stage.WORKOUT_NOT_HANDED_OFF: "Não foi possível enviar o treino para o seu diário. Envie-o de novo "
        "com /log-workout.",
    },
}
"""By ISO 639-1 code and stage."""


def notice(stage: Stage, language: str, *, memory: str = "") -> Contextual:
    """The event of a stage, in the language of the message."""
    sentences = SENTENCES.get(language, SENTENCES[DEFAULT_LANGUAGE])
    return Contextual(sentences[stage].format(memory=shortened(memory, MOST_QUOTED_CHARS)), stage)
