"""The WeChat platform that tests talk to. It lives in the product, because `qingting simulate wechat` plays it too."""

from bot.simulate.wechat import UNAVAILABLE, Fault, Person, WechatPlatform

__all__ = ["UNAVAILABLE", "Fault", "Person", "WechatPlatform"]
