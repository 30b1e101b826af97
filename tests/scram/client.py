"""The client's side of SCRAM, by a library of its own (scramp): a message a line, both ways.

usage: client.py MECHANISM USER PASSWORD
"""

import sys

from scramp import ScramClient

client = ScramClient([sys.argv[1]], sys.argv[2], sys.argv[3])
print(client.get_client_first(), flush=True)
client.set_server_first(sys.stdin.readline().rstrip("\n"))
print(client.get_client_final(), flush=True)
client.set_server_final(sys.stdin.readline().rstrip("\n"))
print("the server knows the password", flush=True)
