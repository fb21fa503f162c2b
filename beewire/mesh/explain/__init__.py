"""Why did this connection go where it went?

explain(subject, question)     # a connection that might be made
explain_socket(subject, fd)    # one that was: what the programs kept in its socket

subject       Subject: the pod that is asked about, its configuration, its programs
question      Question: a connection as people write it
explanation   Explanation: hooks, rule, origin, addresses, counters; text and JSON
hypothetical  from the configuration, by the decision in Python
live          from the socket, never by deciding again
words         rules and actions as sentences
"""

from beewire.mesh.explain.explanation import Explanation, Step
from beewire.mesh.explain.hypothetical import explain
from beewire.mesh.explain.live import Stored, explain_socket, stored_in
from beewire.mesh.explain.question import Question, parse
from beewire.mesh.explain.subject import Subject
from beewire.mesh.explain.words import RULES

__all__ = [
    "RULES",
    "Explanation",
    "Question",
    "Step",
    "Stored",
    "Subject",
    "explain",
    "explain_socket",
    "parse",
    "stored_in",
]
