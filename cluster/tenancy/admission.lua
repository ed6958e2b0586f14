-- The limits of one organization, changed all together or not at all.
-- The same arithmetic as cluster/tenancy/limiter.py, which explains it; a test compares them.
--
-- KEYS[1] hash: "rate limit" -> "level at"; KEYS[2] sorted set: lease -> when it ends (ms)
-- ARGV    time in ms, or '' for the server's, so that routers need not agree on the time;
--         'admit'  lease lifetime slots(-1: any)   {name limit period cost}...
--         'settle' lease used [name limit period cost drained_at]
--         'renew'  lifetime lease...
local CONCURRENT_WAIT = 1000
local NEVER = math.huge

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function rate_at(i)
  return {
    field = ARGV[i] .. ' ' .. ARGV[i + 1],  -- another limit is another bucket
    limit = tonumber(ARGV[i + 1]),
    period = tonumber(ARGV[i + 2]),
    cost = tonumber(ARGV[i + 3]),
  }
end

local function level_of(rate)
  local stored = redis.call('HGET', KEYS[1], rate.field)
  if not stored then return 0 end
  local level, at = string.match(stored, '^(%d+) (%d+)$')
  return math.max(0, tonumber(level) - math.max(0, now - tonumber(at)) * rate.limit)
end

local function reset_of(rate)
  return rate.limit > 0 and math.ceil(rate.level / rate.limit) or 0
end

local function keep(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then redis.call('PEXPIRE', key, milliseconds) end
end

local function store(rate)
  redis.call('HSET', KEYS[1], rate.field, string.format('%.0f %.0f', rate.level, now))
  keep(KEYS[1], reset_of(rate) + 1000)
end

local function answer(refused, wait, rates)
  local reply = { now, refused, wait == NEVER and -1 or wait }
  for _, rate in ipairs(rates) do
    local remaining = math.floor((rate.limit * rate.period - rate.level) / rate.period)
    reply[#reply + 1] = math.max(0, remaining)
    reply[#reply + 1] = reset_of(rate)
  end
  return reply
end

local function admit(lease, lifetime, slots)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  local rates = {}
  for i = 6, #ARGV, 4 do
    local rate = rate_at(i)
    rate.level = level_of(rate)
    rates[#rates + 1] = rate
  end
  if redis.call('ZSCORE', KEYS[2], lease) then return answer(0, 0, rates) end

  -- 0: nothing refuses; i: the i-th rate does; -1: there is no free slot
  local refused, longest = 0, 0
  for i, rate in ipairs(rates) do
    local over = rate.level + rate.cost * rate.period - rate.limit * rate.period
    local wait = NEVER
    if rate.limit > 0 and rate.limit >= rate.cost then wait = math.ceil(over / rate.limit) end
    if over > 0 and wait > longest then refused, longest = i, wait end
  end
  if slots >= 0 and redis.call('ZCARD', KEYS[2]) >= slots then
    local wait = slots > 0 and CONCURRENT_WAIT or NEVER
    if wait > longest then refused, longest = -1, wait end
  end
  if refused ~= 0 then return answer(refused, longest, rates) end

  for _, rate in ipairs(rates) do
    rate.level = rate.level + rate.cost * rate.period
    store(rate)
  end
  if lifetime > 0 then
    redis.call('ZADD', KEYS[2], now + lifetime, lease)
    keep(KEYS[2], lifetime + 1000)
  end
  return answer(0, 0, rates)
end

local function settle(lease, used)
  if redis.call('ZREM', KEYS[2], lease) == 0 then return 0 end
  if ARGV[5] then
    local rate = rate_at(5)
    local owed = (used - rate.cost) * rate.period
    local undrained = math.max(0, tonumber(ARGV[9]) - now) * rate.limit
    rate.level = math.max(0, level_of(rate) + math.max(owed, -undrained))
    store(rate)
  end
  return 1
end

local function renew(lifetime)
  for i = 4, #ARGV do redis.call('ZADD', KEYS[2], 'XX', now + lifetime, ARGV[i]) end
  if redis.call('EXISTS', KEYS[2]) == 1 then keep(KEYS[2], lifetime + 1000) end
  return 1
end

local command = ARGV[2]
if command == 'admit' then
  return admit(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
elseif command == 'settle' then
  return settle(ARGV[3], tonumber(ARGV[4]))
end
return renew(tonumber(ARGV[3]))
