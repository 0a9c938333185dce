"""Row losses: the algebra of the class axis, its stable rules, and the certificate of signs."""

from lossmith.derivations.rows.engine import stabilize

__all__ = ["stabilize"]
