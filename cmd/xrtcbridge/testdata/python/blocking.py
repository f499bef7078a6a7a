"""Sets and gets items the blocking way."""

from xrtc import XRTC, XRTCException

with XRTC() as xrtc:
    xrtc.set_item(items=[{"portalid": "mars", "payload": "h\u00e9llo \U0001f600 \"q\" \n/ ="}])
    xrtc.set_item(items=[{"portalid": "mars", "payload": "a+b%20c&d=1"}, {"portalid": "moon", "payload": ""}])
    for item in xrtc.get_item(portals=[{"portalid": "mars"}], schedule="FIFO"):
        print(item.portalid, repr(item.payload), item.servertimestamp >= xrtc.login_time)
    print(list(xrtc.get_item(portals=[{"portalid": "mars"}])))
    print(sorted(item.portalid for item in xrtc.get_item(portals=[])))
    print([item.payload for item in xrtc.get_item(portals=[{"portalid": "moon"}], mode="stream")])
    print(list(xrtc.get_item(portals=[{"portalid": "venus"}], mode="watch", cutoff=500)))
    for wrong in ({"portalid": "a-b", "payload": "x"}, {"portalid": "a"}):
        try:
            xrtc.set_item(items=[wrong])
        except XRTCException as e:
            print("refused:", str(e).split(": ", 2)[2])
