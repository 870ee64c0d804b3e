"""What runs inside Redis: the two decisions that no other client may come between.

Invariant: a script writes either nothing or everything. What may be refused for want of memory comes first.
"""

from __future__ import annotations

ACQUIRE = """
local time = redis.call('TIME')
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') + 1
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if now > epoch then epoch = now end
local written = string.format('%.0f', epoch)
redis.call('HSET', KEYS[1], 'epoch', written)
redis.call('HDEL', KEYS[1], 'none')
return {written, redis.call('HGET', KEYS[1], 'commits') or '0'}
"""
"""Also tries every kind of write that a commit makes, so that a missing permission shows here and not half-way."""

COMMIT = """
local head = redis.call('HMGET', KEYS[1], 'epoch', 'commits')
if head[1] ~= ARGV[1] then return {'fenced', head[1] or 'none'} end
local commits = tonumber(head[2] or '0')
if commits < tonumber(ARGV[2]) or commits > tonumber(ARGV[3]) then
  return {'lost', string.format('%.0f', commits)}
end
local written = string.format('%.0f', commits + 1)
redis.call('HSET', KEYS[1], 'commits', written)
local at = 4
for family = 2, #KEYS do
  redis.call('HSET', KEYS[1], ARGV[at], '')
  local puts, deletes = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  for first = at, at + puts - 1, 4000 do
    redis.call('HSET', KEYS[family], unpack(ARGV, first, math.min(first + 3999, at + puts - 1)))
  end
  at = at + puts
  for first = at, at + deletes - 1, 4000 do
    redis.call('HDEL', KEYS[family], unpack(ARGV, first, math.min(first + 3999, at + deletes - 1)))
  end
  at = at + deletes
end
return {'done', written}
"""
"""ARGV: epoch, least and most commits that there may be; per family its field in the head, twice the number of puts,
the number of deletes, key and value of each put, key of each delete. Lua unpacks at most about 8,000 values."""
