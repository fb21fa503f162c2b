"""Why a connection's last message went by TCP, in words."""

from beewire.mesh.programs.bypass.state import Why

REASONS: dict[Why, str] = {
    Why.NOTHING: "",
    Why.SILENT: "nothing was sent yet",
    Why.ALONE: "the other end had not joined yet",
    Why.FULL: "the reader is behind: more than the bound waits for it",
    Why.UNREAD: "what TCP carried was not read yet",
    Why.UNACCEPTED: "the other end was not accepted yet",
    Why.SWITCHED_OFF: "the short path is switched off",
    Why.CLOSING: "this end has said its last word",
    Why.GONE: "the other end has closed",
    Why.UNMET: "the other end never joined",
    Why.SHORT_LIVED: "connections to this destination end soon",
    Why.BLOCKING: "one end's owner waits inside recv()",
    Why.MPTCP: "it is one of several of an MPTCP connection",
    Why.ULP: "TLS in the kernel, or another layer above TCP",
    Why.STRANGER: "what answers to its name is another connection",
    Why.UNKNOWN: "how long connections to this destination live is not known yet",
    Why.BULK: "the application's socket is TCP's again: it was sent much, was behind, or was off",
    Why.NO_ROOM: "the node's maps are full",
}
"""For each Why a clause that follows "by TCP: "."""
