"""The SMS provider that tests talk to. It lives in the product, because `qingting simulate sms` plays it too."""

from bot.simulate.sms import Fault, SmsCentre, Telephone

__all__ = ["Fault", "SmsCentre", "Telephone"]
