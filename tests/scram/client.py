"""The client's side of SCRAM, by a library of its own (scramp): a message a line, both ways.

usage: client.py MECHANISM USER PASSWORD [BINDING]

BINDING is what binds the channel by tls-exporter, in hexadecimal digits. The library refuses that type because
Python's TLS cannot export it; here it comes from outside, and all types are bound alike.
"""

import sys

from scramp import ScramClient
from scramp.core import CbName

CbName.SUPPORTED_TYPES = frozenset({"tls-exporter"})
CbName.UNSUPPORTED_TYPES = frozenset()
binding = ("tls-exporter", bytes.fromhex(sys.argv[4])) if len(sys.argv) > 4 else None
client = ScramClient([sys.argv[1]], sys.argv[2], sys.argv[3], binding)
print(client.get_client_first(), flush=True)
client.set_server_first(sys.stdin.readline().rstrip("\n"))
print(client.get_client_final(), flush=True)
client.set_server_final(sys.stdin.readline().rstrip("\n"))
print("the server knows the password", flush=True)
