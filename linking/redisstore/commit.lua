#!lua
-- One commit: all of it or nothing.
--
-- Redis keeps what a script wrote before it failed. So first everything is read
-- and compared, and then only commands follow that cannot fail:
--   XADD comes first. It is the only one with a condition of its own (the id must
--   grow), and where the first succeeds the others do: "0-*" takes the next
--   number of the stream, which nobody else writes.
--   SET and DEL take any type. ZADD, ZREM and INCR meet the right type because no
--   other script writes keys with these prefixes; scores are made by the caller
--   from whole numbers.
--   Want of memory, a read-only or a stopped server refuse the script as a whole
--   before it starts: that is what its first line asks for.
--
-- KEYS  1 commit id, 2 counter, 3 due index, 4 event log
--       then a record for each check
--       then for each write a record, and its list if it joins or leaves one
-- ARGV  1 commit id, 2 the highest counter the sender has seen, 3 life of the id in ms,
--       4 "1" if a send of this id got no answer, 5 checks, 6 writes
--       then for each check the version
--       then for each write: version before, new value ("": remove),
--         due time in Unix ms ("": never), id in its list ("": leave lists alone)
--       then the events
-- Returns an outcome, the commit id, and the counter.
local APPLIED, CONFLICT, ROLLED_BACK = 1, 2, 3
local NEVER = '\0\0\0\0\0\0\0'

local known = redis.call('MGET', KEYS[1], KEYS[2])
local n = tonumber(known[2] or '0')
if known[1] == '1' then
  return {APPLIED, ARGV[1], n}
end
if n < tonumber(ARGV[2]) then
  return {ROLLED_BACK, ARGV[1], n}
end

local function conflict()
  if ARGV[4] == '1' then
    redis.call('SET', KEYS[1], '0', 'PX', ARGV[3])
  end
  return {CONFLICT, ARGV[1], n}
end

if known[1] then
  return conflict()
end
local checks, writes = tonumber(ARGV[5]), tonumber(ARGV[6])
local k, a = 4, 6
for _ = 1, checks do
  k, a = k + 1, a + 1
  if redis.call('GETRANGE', KEYS[k], 0, 5) ~= ARGV[a] then
    return conflict()
  end
end
local first_k, first_a, was_due = k, a, {}
for i = 1, writes do
  k = k + 1
  local head = redis.call('GETRANGE', KEYS[k], 0, 12)
  if string.sub(head, 1, 6) ~= ARGV[a + 1] then
    return conflict()
  end
  was_due[i] = head ~= '' and string.sub(head, 7) ~= NEVER
  if ARGV[a + 4] ~= '' then
    k = k + 1
  end
  a = a + 4
end

for i = a + 1, #ARGV do
  redis.call('XADD', KEYS[4], '0-*', 'e', ARGV[i])
end
k, a = first_k, first_a
for i = 1, writes do
  k = k + 1
  local record, value, due, listed = KEYS[k], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  if value == '' then
    redis.call('DEL', record)
  else
    redis.call('SET', record, value)
  end
  if due ~= '' then
    redis.call('ZADD', KEYS[3], due, string.sub(record, #KEYS[2]))
  elseif was_due[i] then
    redis.call('ZREM', KEYS[3], string.sub(record, #KEYS[2]))
  end
  if listed ~= '' then
    k = k + 1
    if value == '' then
      redis.call('ZREM', KEYS[k], listed)
    else
      redis.call('ZADD', KEYS[k], 0, listed)
    end
  end
  a = a + 4
end
n = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
return {APPLIED, ARGV[1], n}
