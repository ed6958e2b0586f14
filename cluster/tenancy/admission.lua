-- The limits of one organization and its keys, changed all together or not at all.
-- The same arithmetic as cluster/tenancy/limiter.py, which explains it; a test compares them.
--
-- ARGV    time in ms, or '' for the server's, so that routers need not agree on the time; then
--   'admit'  lease lifetime subjects, each: slots(-1: any) rates {name limit period cost}...
--            and 0, or 1 keep usd(-1: any) tokens(-1: any) cost_usd cost_tokens
--   'settle' lease used_usd used_tokens subjects, each: 0, or 1 name limit period cost drained_at,
--            and 0, or 1 keep cost_usd cost_tokens
--   'raise'  keep usd tokens
--   'renew'  lifetime member...
-- KEYS    of each subject, in the order of ARGV:
--           hash: "rate limit" -> "level at"
--           sorted set: lease -> when it ends (ms)
--         and where it has an account:
--           hash: what is spent and what is held, in nano-dollars and in tokens
--           sorted set: "lease usd tokens" -> when it ends; the amounts make the hash's sums
--         'raise': an account's hash; 'renew': a sorted set
local CONCURRENT_WAIT = 1000
local NEVER = math.huge
local MOST_SPENT = 2 ^ 53
local SLOTS, USD, TOKENS, UNKNOWN = -1, -2, -3, -9

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local at, key_at = 3, 1
local function word() at = at + 1; return ARGV[at - 1] end
local function number() return tonumber(word()) end
local function key() key_at = key_at + 1; return KEYS[key_at - 1] end

local function whole(n) return string.format('%.0f', n) end

local function keep(name, milliseconds)
  if redis.call('PTTL', name) < milliseconds then redis.call('PEXPIRE', name, milliseconds) end
end

local function read_rate()
  local name, limit, period, cost = word(), word(), number(), number()
  local field = name .. ' ' .. limit  -- another limit is another bucket
  return { field = field, limit = tonumber(limit), period = period, cost = cost }
end

local function read_level(levels, rate)
  rate.level = 0
  local stored = redis.call('HGET', levels, rate.field)
  if stored then
    local level, since = string.match(stored, '^(%d+) (%d+)$')
    rate.level = math.max(0, tonumber(level) - math.max(0, now - tonumber(since)) * rate.limit)
  end
end

local function reset_of(rate)
  return rate.limit > 0 and math.ceil(rate.level / rate.limit) or 0
end

local function store(levels, rate)
  redis.call('HSET', levels, rate.field, whole(rate.level) .. ' ' .. whole(now))
  keep(levels, reset_of(rate) + 1000)
end

local function free(account, usd, tokens)
  redis.call('HINCRBY', account, 'held_usd', whole(0 - tonumber(usd)))
  redis.call('HINCRBY', account, 'held_tokens', whole(0 - tonumber(tokens)))
end

local function forget_ended(leases, account)
  redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
  if not account then return end
  local ended = redis.call('ZRANGEBYSCORE', account.holds, '-inf', now)
  for _, member in ipairs(ended) do
    free(account.name, string.match(member, ' (%d+) (%d+)$'))
    redis.call('ZREM', account.holds, member)
  end
end

local function read_balance(account)
  local kept = redis.call('HMGET', account.name, 'usd', 'tokens', 'held_usd', 'held_tokens')
  for i, amount in ipairs({ account.usd, account.tokens }) do
    amount.spent, amount.held = tonumber(kept[i]), tonumber(kept[i + 2]) or 0
  end
  return account.usd.spent ~= nil
end

local function read_subject()
  local subject = { levels = key(), leases = key(), slots = number(), rates = {} }
  for i = 1, number() do subject.rates[i] = read_rate() end
  if number() == 1 then
    subject.account = {
      name = key(), holds = key(), keep = number(),
      usd = { refusal = USD, limit = number() }, tokens = { refusal = TOKENS, limit = number() },
    }
    subject.account.usd.cost, subject.account.tokens.cost = number(), number()
  end
  return subject
end

local function answer(subjects, refused, what, wait)
  local reply = { now, refused, what, wait == NEVER and -1 or wait }
  for _, subject in ipairs(subjects) do
    for _, rate in ipairs(subject.rates) do
      local remaining = math.floor((rate.limit * rate.period - rate.level) / rate.period)
      reply[#reply + 1] = math.max(0, remaining)
      reply[#reply + 1] = reset_of(rate)
    end
  end
  for _, subject in ipairs(subjects) do
    if subject.account then
      local usd, tokens = subject.account.usd, subject.account.tokens
      for _, amount in ipairs({ usd.spent or -1, tokens.spent or -1, usd.held, tokens.held }) do
        reply[#reply + 1] = amount
      end
    end
  end
  return reply
end

-- Calls `refuse(what, wait)` for all that refuses. The i-th rate is i.
local function ask(subject, refuse)
  for i, rate in ipairs(subject.rates) do
    local over = rate.level + rate.cost * rate.period - rate.limit * rate.period
    local fits = rate.limit > 0 and rate.limit >= rate.cost
    if over > 0 then refuse(i, fits and math.ceil(over / rate.limit) or NEVER) end
  end
  if subject.slots >= 0 and redis.call('ZCARD', subject.leases) >= subject.slots then
    refuse(SLOTS, subject.slots > 0 and CONCURRENT_WAIT or NEVER)
  end
  if not subject.account then return end
  for _, amount in ipairs({ subject.account.usd, subject.account.tokens }) do
    local after = amount.spent + amount.cost
    if amount.limit >= 0 and amount.cost > 0 and after + amount.held > amount.limit then
      refuse(amount.refusal, after <= amount.limit and CONCURRENT_WAIT or NEVER)
    end
  end
end

local function take(subject, lease, lifetime)
  for _, rate in ipairs(subject.rates) do
    rate.level = rate.level + rate.cost * rate.period
    store(subject.levels, rate)
  end
  if lifetime <= 0 then return end
  redis.call('ZADD', subject.leases, now + lifetime, lease)
  keep(subject.leases, lifetime + 1000)
  local account = subject.account
  if not account then return end
  local usd, tokens = account.usd, account.tokens
  local member = lease .. ' ' .. whole(usd.cost) .. ' ' .. whole(tokens.cost)
  redis.call('ZADD', account.holds, now + lifetime, member)
  redis.call('HINCRBY', account.name, 'held_usd', whole(usd.cost))
  redis.call('HINCRBY', account.name, 'held_tokens', whole(tokens.cost))
  usd.held, tokens.held = usd.held + usd.cost, tokens.held + tokens.cost
  keep(account.name, account.keep)
  keep(account.holds, account.keep)
end

local function admit()
  local lease, lifetime, subjects, open = word(), number(), {}, true
  for i = 1, number() do
    local subject = read_subject()
    forget_ended(subject.leases, subject.account)
    for _, rate in ipairs(subject.rates) do read_level(subject.levels, rate) end
    if subject.account then open = read_balance(subject.account) and open end
    subjects[i] = subject
  end
  if not open then return answer(subjects, 0, UNKNOWN, 0) end
  if redis.call('ZSCORE', subjects[1].leases, lease) then return answer(subjects, 0, 0, 0) end

  local refused, what, longest = 0, 0, 0
  for i, subject in ipairs(subjects) do
    ask(subject, function(limit, wait)
      if wait > longest then refused, what, longest = i, limit, wait end
    end)
  end
  if refused ~= 0 then return answer(subjects, refused, what, longest) end
  for _, subject in ipairs(subjects) do take(subject, lease, lifetime) end
  return answer(subjects, 0, 0, 0)
end

-- Not HINCRBY: it would fail where the sum is too large, with half of the lease settled.
local function spend(account, field, used)
  local known = tonumber(redis.call('HGET', account, field)) or 0
  local spent = math.min(MOST_SPENT, known + tonumber(used))
  redis.call('HSET', account, field, whole(spent))
  return spent
end

local function settle()
  local lease, used_usd, used_tokens = word(), word(), word()
  local reply = { 0 }
  for i = 1, number() do
    local levels, leases = key(), key()
    local there = redis.call('ZREM', leases, lease)
    if i == 1 then reply[1] = there end
    if number() == 1 then
      local rate, drained_at = read_rate(), number()
      if there == 1 then
        read_level(levels, rate)
        local owed = (tonumber(used_tokens) - rate.cost) * rate.period
        local undrained = math.max(0, drained_at - now) * rate.limit
        rate.level = math.max(0, rate.level + math.max(owed, -undrained))
        store(levels, rate)
      end
    end
    if number() == 1 then
      local account, holds, kept, usd, tokens = key(), key(), number(), word(), word()
      local held = redis.call('ZREM', holds, lease .. ' ' .. usd .. ' ' .. tokens) == 1
      if held then free(account, usd, tokens) end
      if held and redis.call('HEXISTS', account, 'usd') == 1 then
        reply[#reply + 1] = spend(account, 'usd', used_usd)
        reply[#reply + 1] = spend(account, 'tokens', used_tokens)
        keep(account, kept)
      else
        reply[#reply + 1] = -1
        reply[#reply + 1] = -1
      end
    end
  end
  return reply
end

local function raise()
  local account, kept = key(), number()
  for _, field in ipairs({ 'usd', 'tokens' }) do
    local spent = math.min(MOST_SPENT, number())
    local known = redis.call('HGET', account, field)
    if not known or tonumber(known) < spent then
      redis.call('HSET', account, field, whole(spent))
    end
  end
  keep(account, kept)
  return 1
end

local function renew()
  local members, lifetime = key(), number()
  for i = at, #ARGV do redis.call('ZADD', members, 'XX', now + lifetime, ARGV[i]) end
  if redis.call('EXISTS', members) == 1 then keep(members, lifetime + 1000) end
  return 1
end

local commands = { admit = admit, settle = settle, raise = raise, renew = renew }
return commands[ARGV[2]]()
