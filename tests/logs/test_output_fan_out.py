"""Many readers of one output beside other requests, in greenlets as under uWSGI."""

import json
import os
import subprocess
import sys

#: Readers wait; the first one that is woken makes another request arrive. Prints in which order all were served.
PROGRAM = """
from gevent import monkey
monkey.patch_all()
import django
django.setup()
import json, os, gevent
from gevent.os import nb_read
from logs.stream import GROUP, Group, _wake

arrived, send = os.pipe()
os.set_blocking(arrived, False)
served = []

def reader(group):
    group.news.wait()
    if not served:
        os.write(send, b"request")
    served.append("reader")

def request():
    nb_read(arrived, 100)
    served.append("request")

groups = [Group() for _ in range(10)]
waiting = [gevent.spawn(reader, group) for group in groups for _ in range(GROUP)] + [gevent.spawn(request)]
gevent.sleep(0.1)
_wake(groups)
gevent.joinall(waiting)
print(json.dumps(served))
"""


def test_a_request_that_comes_while_readers_are_served_waits_for_a_few_of_them_only():
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True)
    served = json.loads(done.stdout)
    assert served.count("reader") == 80
    assert served.index("request") <= 16
