"""Row losses: the algebra of the class axis, its stable rules, and the certificate of signs."""

from lossmith.derivations.rows.engine import as_written, stabilize

__all__ = ["as_written", "stabilize"]
