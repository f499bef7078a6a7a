"""A portal client that does on the wire what the public Python SDK does.

It is written for our tests, with the libraries that the SDK uses: requests for the
blocking client, aiohttp for the other, pydantic for settings and items.
"""

import json
from typing import List, Optional

import aiohttp
import pydantic
import requests


class Settings(pydantic.BaseSettings):
    account_id: str
    api_key: str
    login_url: str = "https://api.xrtc.org/v1/auth/login"
    set_url: str = "https://api.xrtc.org/v1/item/set"
    get_url: str = "https://api.xrtc.org/v1/item/get"

    class Config:
        env_file = "xrtc.env"


class XRTCException(Exception):
    pass


class Item(pydantic.BaseModel):
    portalid: pydantic.StrictStr
    payload: pydantic.StrictStr
    servertimestamp: pydantic.StrictInt = 0


class Answer(pydantic.BaseModel):
    items: Optional[List[Item]]


class Failure(pydantic.BaseModel):
    errorgroup: pydantic.StrictInt
    errorcode: pydantic.StrictInt
    errormessage: pydantic.StrictStr


def body(**fields):
    return json.dumps({k: v for k, v in fields.items() if v is not None})


def failure(url, status, text):
    if status in (400, 401):
        raise XRTCException(f"XRTC URL: {url}: {Failure(**json.loads(text)['error']).errormessage}")
    raise XRTCException(f"XRTC URL: {url}: Code: {status}")


class XRTC:
    """The blocking client."""

    def __init__(self):
        self.settings = Settings()
        self.session = requests.Session()

    def __enter__(self):
        s = self.settings
        answer = json.loads(self._post(s.login_url, body(accountid=s.account_id, apikey=s.api_key)))
        self.login_time = answer["servertimestamp"]
        # Clients of the public service are told to send this one, too.
        self.session.cookies.set("AWSALBAPP-0", "_remove_")
        return self

    def __exit__(self, *_):
        self.session.close()

    def _post(self, url, text):
        r = self.session.post(url, data=text, timeout=(5, 10))
        if r.status_code != 200:
            failure(url, r.status_code, r.text)
        return r.text

    def set_item(self, items):
        json.loads(self._post(self.settings.set_url, body(items=items)))

    def get_item(self, portals, mode=None, schedule=None, cutoff=None):
        text = self._post(self.settings.get_url, body(portals=portals, mode=mode, schedule=schedule, cutoff=cutoff))
        for item in Answer(**json.loads(text)).items or []:
            yield item


class AXRTC:
    """The asyncio client."""

    def __init__(self):
        self.settings = Settings()

    async def __aenter__(self):
        s = self.settings
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=20, connect=5, sock_connect=5, sock_read=10),
            connector=aiohttp.TCPConnector(limit=50, keepalive_timeout=600),
        )
        async with self.session.post(s.login_url, data=body(accountid=s.account_id, apikey=s.api_key)) as r:
            text = await r.text()
            if r.status != 200:
                failure(s.login_url, r.status, text)
            self.login_time = json.loads(text)["servertimestamp"]
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def set_item(self, items):
        async with self.session.post(self.settings.set_url, data=body(items=items)) as r:
            text = await r.text()
            if r.status != 200:
                failure(self.settings.set_url, r.status, text)
            json.loads(text)

    async def get_item(self, portals, mode=None, schedule=None, cutoff=None):
        url = self.settings.get_url
        async with self.session.post(url, data=body(portals=portals, mode=mode, schedule=schedule, cutoff=cutoff)) as r:
            if r.status != 200:
                failure(url, r.status, await r.text())
            async for line in r.content:
                if len(line) > 65536:
                    raise XRTCException("line too long")
                for item in Answer(**json.loads(line)).items or []:
                    yield item
