"""Parses a line of InfluxDB's line protocol and prints it as JSON."""

import json
import sys

from line_protocol_parser import parse_line

print(json.dumps(parse_line(sys.argv[1])))
