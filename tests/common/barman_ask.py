"""archive_command's side of barman_relay.py: barman_ask.py SOCKET PATH."""
import os
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(os.path.abspath(sys.argv[2]).encode() + b"\n")
answer = connection.makefile("rb").readline()
sys.exit(int(answer) if answer else 4)
