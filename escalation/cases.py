"""工单: the record with owner and result. Opened by danger or by closing a contact; closed by a counsellor with a result."""

from __future__ import annotations

from escalation.case_opening import number, open_for

__all__ = ["number", "open_for"]
