"""The Lua scripts: what happens to a position happens together with the records.

    position hash    v           version of what is written here
                     fence       times that a writer has taken the ring over
                     token       that of the writer who has it; another's calls are refused
                     owner       who that is, for people
                     generation  first part of the stream's ids: ms since 1970, raised when ring_id or
                                 epoch changes, so that ids never go back
                     ring_id, epoch, seq   how far the ring is stored

A server that dies within a script keeps all of it or nothing (the append-only file has it as one
transaction). A script that is refused in the middle (a channel that an ACL forbids) keeps what it had
done: ids tell how far that was, and LOOK takes it into the position. Sequence numbers have 64 bits
and Lua's numbers 53, so they are compared as decimal text.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LOOK", "STORE", "VERSION"]

#: Of the keys' layout. A position of a higher one is left alone.
VERSION: Final = 1

_COMMON: Final = """
local function below(a, b)
  return #a < #b or (#a == #b and a < b)
end
"""

#: KEYS position, stream. ARGV version, token (of who takes the ring over; '' only looks), owner.
#: Returns version, token before, generation, ring_id, epoch, seq ('' where there is none).
LOOK: Final = (
    _COMMON
    + """
local h = redis.call('HMGET', KEYS[1], 'v', 'token', 'generation', 'ring_id', 'epoch', 'seq')
for i = 1, 6 do h[i] = h[i] or '' end
if h[1] ~= '' and tonumber(h[1]) > tonumber(ARGV[1]) then return h end
if redis.call('EXISTS', KEYS[2]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local generation, seq = string.match(info[i + 1], '^(%d+)-(%d+)$')
      if generation == h[3] and below(h[6], seq) then
        redis.call('HSET', KEYS[1], 'seq', seq)
        h[6] = seq
      elseif h[3] == '' or below(h[3], generation) then
        h[7] = generation
      end
    end
  end
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 'token', ARGV[2], 'owner', ARGV[3])
  redis.call('HINCRBY', KEYS[1], 'fence', 1)
end
return h
"""
)

#: KEYS position, stream, instruments, then a hash for each last value.
#: ARGV 1-3 token, generation and seq that must be there, 4-7 generation, ring_id, epoch and seq that
#:   come, 8 the seq before the first, 9 maxlen ('' for no stream), 10 channel ('' for none), 11 and 12
#:   numbers of messages and of instruments, 13 the words of all last values (JSON: one argument is
#:   packed faster than thousands); then per message first, last, records, header, data; per
#:   instrument id and text.
#: Returns 1, or 0 if the position is not the expected one: then nothing has been done.
STORE: Final = """
local at = redis.call('HMGET', KEYS[1], 'token', 'generation', 'seq')
if at[1] ~= ARGV[1] or (at[2] or '') ~= ARGV[2] or (at[3] or '') ~= ARGV[3] then return 0 end
if ARGV[4] ~= ARGV[2] then
  redis.call('HSET', KEYS[1], 'generation', ARGV[4], 'ring_id', ARGV[5], 'epoch', ARGV[6],
             'seq', ARGV[8])
end
local a = 14
local messages, instruments = tonumber(ARGV[11]), tonumber(ARGV[12])
local after = a + 5 * messages
for i = after, after + 2 * instruments - 2, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
for _ = 1, messages do
  if ARGV[9] ~= '' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[9], ARGV[4] .. '-' .. ARGV[a + 1],
               'v', '1', 'ring_id', ARGV[5], 'epoch', ARGV[6], 'first', ARGV[a],
               'last', ARGV[a + 1], 'n', ARGV[a + 2], 'd', ARGV[a + 4])
  end
  if ARGV[10] ~= '' then redis.call('PUBLISH', ARGV[10], ARGV[a + 3] .. ARGV[a + 4]) end
  a = a + 5
end
if #KEYS > 3 then
  for k, words in ipairs(cjson.decode(ARGV[13])) do
    redis.call('HSET', KEYS[k + 3], unpack(words))
  end
end
redis.call('HSET', KEYS[1], 'seq', ARGV[7])
return 1
"""
