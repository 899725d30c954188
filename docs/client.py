#!/usr/bin/env python3
"""A cim client in the standard library of Python 3.11; docs/clients.md walks through it.

    client.py NAME http://127.0.0.1:8083 [another route ...]
Each line of the input is sent: "id;;text" or "name;;text" to one user, any other to all. Events are written as
JSON, also the faults of a line. The end of the input, or Ctrl-C, logs off. Routes that demand a token get that of
CIM_TOKEN, or of the file that CIM_TOKEN_FILE names, which is read again for each request."""
import asyncio, collections, http.client, itertools, json, os, pathlib, random, signal, struct, sys, threading, types
import urllib.request
MESSAGE, PING, OFFLINE, LOGIN_ANSWER, SEND, OUTCOME, CLOSE, MOVE = 1, 2, 3, 16, 17, 18, 19, 20
OUTCOMES = {1: "delivered", 2: "stored", 3: "busy", 4: "failed", 5: "unknown"}
FINAL = {3, 10, 17, 18, 19, 22, "3000", "5000", "9100"}  # reasons and codes after which a client must not log in again

class Refused(Exception):
    """A route or a server said no: the last argument is its code or reason."""
    def __str__(self):
        return ": ".join(map(str, self.args))

def varint(n):
    return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])
def frame(*fields):
    """A frame of (number, value) pairs, of bytes and numbers; what is 0 or empty is not written."""
    body = b"".join(varint(n << 3 | 2) + varint(len(v)) + v if isinstance(v, bytes) else varint(n << 3) + varint(v)
                    for n, v in fields if v)
    return varint(len(body)) + body
def take_varint(data):
    """Takes a number from an iterator of bytes; None at its end."""
    byte = next(data, None)
    return byte if byte is None or byte < 128 else byte & 127 | take_varint(data) << 7
def parse(body):
    """The fields of a frame, or of a property in it: {number: [value, ...]}."""
    fields, rest = collections.defaultdict(list), iter(body)
    while (tag := take_varint(rest)) is not None:
        value = {1: 8, 5: 4}.get(tag & 7) or take_varint(rest)  # of kind 2 a length, of kind 0 the value itself
        fields[tag >> 3].append(bytes(itertools.islice(rest, value)) if tag & 7 else value)
    return fields
async def read(stream):
    length = b""
    while not length or length[-1] > 127:
        length += await stream.readexactly(1)
    return parse(await stream.readexactly(take_varint(iter(length))))

class Answers(urllib.request.HTTPErrorProcessor):
    """Takes each status for an answer: a refusal, of a token too, has the form of all others."""
    http_response = https_response = lambda self, request, response: response
opened = urllib.request.build_opener(Answers).open

class Client:
    """Run run() as a task and call send(). on_event gets a dict for each message and each change of state; token gives
    what each request shows, or None."""
    def __init__(self, routes, name, on_event, token=lambda: None):
        self.routes, self.name, self.on_event, self.token = routes, name, on_event, token
        self.seen = collections.deque(maxlen=4096)  # sender and id of the last texts, over all sessions
        self.numbers, self.ticket, self.next = itertools.count(1), None, None
        self.free = asyncio.Event()  # a session is there, and no move is under way: messages may be sent
        self.id = self.ask("/registerAccount", userName=name)["userId"]
    def ask(self, path, **body):
        """Asks one route, and the next if that one cannot be talked to."""
        header, token = {"Content-Type": "application/json"}, self.token()
        if token:
            header["Authorization"] = "Bearer " + token
        for url in self.routes:
            request = urllib.request.Request(url + path, json.dumps(body).encode(), header)
            try:
                answer = json.load(opened(request, timeout=5))
                code, message, data = answer["code"], answer["message"], answer.get("dataBody")
            except (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException):
                continue  # no server, or no route
            if code != "9000":
                raise Refused(path, message, code)
            return data
        raise ConnectionError(f"no route answers {path}")
    def find(self, user):
        """The id of a user, who is given by that or by the name. Nobody is registered."""
        if not (user.isascii() and user.isdigit()):
            return self.ask("/registerAccount", userName=user, find=1)["userId"]
        if not 0 < int(user) < 1 << 63:
            raise ValueError(f"{user} is no user's id")
        return int(user)
    async def login(self, move=0):
        at = await asyncio.to_thread(self.ask, "/login", userId=self.id, userName=self.name, client=1, ticket=self.ticket, move=move)
        self.ticket = at["ticket"]  # the next login shows it, and takes this one's place
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(at["ip"], at["cimServerPort"])
            writer.write(frame((1, self.name.encode()), (2, self.id), (16, 1), (17, bytes.fromhex(self.ticket))))
            answer = await read(reader)
        if answer[21]:
            raise Refused("the server refuses the login", answer[21][0])
        return types.SimpleNamespace(reader=reader, writer=writer, pause=answer[23][0] / 3, due={})
    async def run(self):
        """Logs in, and again whenever the connection is lost, until that is of no use."""
        while True:
            try:
                session, self.next = self.next or await self.login(), None
                await self.serve(session)
            except (OSError, EOFError, Refused) as why:
                if self.next:
                    continue  # it has moved
                self.on_event({"state": "disconnected", "why": repr(why)})
                if isinstance(why, Refused) and why.args[-1] in FINAL:
                    raise
                await asyncio.sleep(random.uniform(0, 5))
    async def serve(self, session):
        """Reads a session to its end."""
        self.session, moving = session, None
        self.on_event({"state": "ready", "id": self.id})
        self.free.set()
        self.ping(session)
        try:
            while True:
                async with asyncio.timeout(session.pause + 5):  # a server that is silent for longer hangs
                    fields = await read(session.reader)
                command = sum(fields[3])
                if command in (MESSAGE, OFFLINE):
                    self.receive(fields, command == OFFLINE)
                elif command == OUTCOME and fields[18][0] in session.due:
                    result = OUTCOMES[fields[20][0]], fields[25][0], int.from_bytes(b"".join(fields[26]), "little")
                    session.due.pop(fields[18][0]).set_result(result)
                elif command == MOVE:
                    moving = moving or asyncio.create_task(self.move(session))
                elif command == CLOSE:
                    raise Refused("the server ended the session", fields[21][0])
        finally:
            self.free.clear()
            session.writer.close()
            while session.due:
                session.due.popitem()[1].set_result(("unknown", 4000, 0))  # sent again it may come twice
            await (moving or asyncio.sleep(0))
    def ping(self, session):
        if not session.writer.is_closing():
            session.writer.write(frame((1, b"ping"), (3, PING)))
            asyncio.get_running_loop().call_later(session.pause, self.ping, session)
    def receive(self, fields, offline):
        properties = {entry[1][0]: entry[2][0].decode() for entry in map(parse, fields[4]) if entry[2]}
        ids = [i for i, in struct.iter_unpack("<Q", b"".join(fields[26]))]
        packed = iter(b"".join(fields[30]))
        times = iter(lambda: take_varint(packed), None)  # ms since 1970; 0: not known
        for text, text_id, sent in itertools.zip_longest(fields[5] or fields[1] or [b""], ids, times, fillvalue=0):
            sender = {"from": properties[b"sendUserId"], "name": properties[b"sendUserName"]}
            if text_id == 0 or (sender["from"], text_id) not in self.seen:
                self.seen.append((sender["from"], text_id))
                self.on_event({**sender, "text": text.decode(), "id": text_id, "sent": sent,
                               "toAll": bool(fields[29]), "offline": offline})
    async def move(self, session):
        """Finds another server while the session goes on, which is then read to its end, for 1 s at most."""
        while not self.next and not session.writer.is_closing():
            self.free.clear()
            await asyncio.wait([*session.due.values(), asyncio.ensure_future(asyncio.sleep(0))], timeout=1)
            try:
                self.next = await self.login(move=1)
                asyncio.get_running_loop().call_later(1, session.writer.close)
            except (OSError, EOFError, Refused):
                self.free.set()
                await asyncio.sleep(random.uniform(0, 2))
    async def send(self, receiver, text):
        """Sends to a user, or with 0 to all. Returns the outcome, its code and the id of the text."""
        if len(text.encode()) > 32768:
            raise ValueError("a text has at most 32768 bytes")
        while not self.free.is_set():
            await self.free.wait()
        number, outcome = next(self.numbers), asyncio.get_running_loop().create_future()
        self.session.due[number] = outcome
        self.session.writer.write(frame((3, SEND), (18, number), (19, receiver), (1, text.encode())))
        return await asyncio.shield(outcome)

def say(event):
    try:
        print(json.dumps(event), flush=True)
    except OSError:
        os._exit(1)  # standard output is closed

async def send_line(client, line):
    """Sends one line; what is wrong with it is said, and harms no other line."""
    try:
        head, private, text = line.decode("utf-8-sig").rstrip("\r\n").partition(";;")
        if head or private:
            receiver = await asyncio.to_thread(client.find, head) if private else 0
            say(await client.send(receiver, text if private else head))
    except (ValueError, OSError, Refused) as why:
        say({"error": str(why)})

def token():
    file = os.environ.get("CIM_TOKEN_FILE")
    token = os.environ.get("CIM_TOKEN") or file and pathlib.Path(file).read_text("latin-1").strip()
    if token and not (token.isascii() and token.isprintable()):  # to be tried again, like a file that cannot be read
        raise OSError(f"CIM_TOKEN or {file or 'CIM_TOKEN_FILE'} has no token: want one line of printable ASCII")
    return token

async def main(name, *routes):
    client, loop, lines = Client(routes, name, say, token), asyncio.get_running_loop(), asyncio.Queue(1)
    def read():  # on a thread of its own: its wait for a line cannot be broken off
        for line in itertools.chain(sys.stdin.buffer, [None]):
            asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
    async def send_lines():
        while line := await lines.get():
            await send_line(client, line)
    running, sending = asyncio.create_task(client.run()), asyncio.create_task(send_lines())
    def stop():
        sending.cancel() or os._exit(130)  # a second Ctrl-C does not wait for the goodbye
    for number in signal.SIGINT, signal.SIGTERM:
        loop.add_signal_handler(number, stop)
    threading.Thread(target=read, daemon=True).start()
    await asyncio.wait([running, sending], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        return f"the client has ended: {running.exception()!r}"
    running.cancel()
    status = 130 if sending.cancelled() else 0
    try:
        client.ticket and await asyncio.to_thread(client.ask, "/offLine", userId=client.id, msg="offLine", ticket=client.ticket)
    except (OSError, Refused) as why:
        print("client.py: not logged off:", why, file=sys.stderr)
        status = status or 1
    return status

if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        status = asyncio.run(main(*sys.argv[1:]))
    except (OSError, ValueError, Refused) as why:
        status = str(why)
    if isinstance(status, str):
        print("client.py:", status, file=sys.stderr)
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)  # at once: the thread may still wait for a line
