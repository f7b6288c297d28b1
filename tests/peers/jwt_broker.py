"""An MQTT 3.1.1 broker that accepts a JSON Web Token as password if PyJWT verifies it, and reports each sign-in as JSON.

Arguments: the algorithm, the file with the public key, the audience.
"""

import asyncio
import json
import sys

import jwt

ALGORITHM, KEY_FILE, AUDIENCE = sys.argv[1:]
KEY = open(KEY_FILE).read()
REFUSED, ACCEPTED = bytes([0x20, 2, 0, 5]), bytes([0x20, 2, 0, 0])


def report(**event):
    print(json.dumps(event), flush=True)


async def packet(reader):
    header = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return header, await reader.readexactly(length)


def fields(body):
    """The client id, the user name and the password of a CONNECT without a will."""
    flags, at, found = body[7], 10, []
    assert not flags & 4, "a will"
    while at < len(body):
        length = int.from_bytes(body[at : at + 2], "big")
        found.append(body[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return found


async def serve(reader, writer):
    try:
        _, body = await packet(reader)
        client, user, password = fields(body)
        try:
            claims = jwt.decode(
                password, KEY, [ALGORITHM], audience=AUDIENCE, options={"require": ["exp", "iat", "sub"]}
            )
        except jwt.InvalidTokenError as error:
            report(refused=repr(error))
            writer.write(REFUSED)
            return
        report(client=client, user=user, claims=claims, header=jwt.get_unverified_header(password))
        writer.write(ACCEPTED)
        while True:
            header, body = await packet(reader)
            if header >> 4 == 3:
                length = int.from_bytes(body[:2], "big")
                report(topic=body[2 : 2 + length].decode())
                writer.write(bytes([0x40, 2]) + body[2 + length : 4 + length])
            elif header >> 4 == 12:
                writer.write(bytes([0xD0, 0]))
            elif header >> 4 == 14:
                report(disconnect=True)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    report(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
