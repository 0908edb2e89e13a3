-- One aggregate's gate: how many commands may pass, and which subjects were let pass. Its semantics
-- stand in protocol/gate.rs, and a test holds the two against each other.
--
-- KEYS[1]  the gate, a hash; its mark sets have names that begin with it, so that all of
--          an aggregate is in one hash slot
-- ARGV     operation, log, partition, node, known fill, known base, then what the operation needs
local gate = KEYS[1]
local operation, log, partition, node = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known_fill, known_base = tonumber(ARGV[5]), tonumber(ARGV[6])
local gate_seconds, marks_seconds = 7 * 24 * 3600, 24 * 3600

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local kept = redis.call('HMGET', gate, 'log', 'partition', 'fill', 'base', 'settled', 'left', 'sets')
local fill, base, settled = tonumber(kept[3] or 0), tonumber(kept[4] or 0), tonumber(kept[5] or 0)
local left, sets = tonumber(kept[6] or 0), tonumber(kept[7] or 1)
local is_newer = fill < known_fill or (fill == known_fill and base < known_base)
local is_usable = kept[1] == log and kept[2] == partition and not is_newer

local function marks(set)
    return gate .. ':' .. string.format('%.0f', fill) .. ':' .. string.format('%.0f', tonumber(set) % sets)
end

local function enter()
    if not is_usable then
        return { 'unfilled' }
    end
    local taken, returned, offset = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
    local flight = tonumber(redis.call('HGET', gate, 'flight:' .. node) or 0)
    flight = math.max(flight - taken - returned, 0)
    left = left + returned
    local verdicts = {}
    for place = 10, #ARGV, 2 do
        local set, number = ARGV[place], ARGV[place + 1]
        local verdict = 'P'
        if left <= 0 then
            verdict = 'S'
            if set ~= '' and redis.call('SISMEMBER', marks(set), number) == 1 then
                verdict = 'M'
            end
        elseif set ~= '' and redis.call('SADD', marks(set), number) == 0 then
            verdict = 'M'
        else
            left = left - 1
            flight = flight + 1
            -- The first mark of a set: without a time to live sets would stay for ever.
            if set ~= '' and redis.call('SCARD', marks(set)) == 1 then
                redis.call('EXPIRE', marks(set), marks_seconds)
            end
        end
        verdicts[#verdicts + 1] = verdict
    end
    redis.call('HSET', gate, 'left', left, 'settled', math.max(settled, offset), 'flight:' .. node, flight, 'heard:' .. node, now)
    return { 'entered', fill, base, table.concat(verdicts) }
end

-- What all nodes have in flight that were heard of lately; the others are forgotten.
local function flights(millis_max)
    local sum, fields = 0, redis.call('HGETALL', gate)
    local heard, flying = {}, {}
    for place = 1, #fields, 2 do
        local name, value = fields[place], tonumber(fields[place + 1])
        if string.sub(name, 1, 6) == 'heard:' then
            heard[string.sub(name, 7)] = value
        elseif string.sub(name, 1, 7) == 'flight:' then
            flying[string.sub(name, 8)] = value
        end
    end
    for other, count in pairs(flying) do
        if millis_max < now - (heard[other] or 0) then
            redis.call('HDEL', gate, 'flight:' .. other, 'heard:' .. other)
        else
            sum = sum + count
        end
    end
    return sum
end

local function correct()
    local record, remaining, flight = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
    local mine = { 'flight:' .. node, flight, 'heard:' .. node, now }
    if not is_usable then
        fill = math.max(math.max(fill, known_fill) + 1, now)
        redis.call('DEL', gate)
        redis.call('HSET', gate, 'log', log, 'partition', partition, 'fill', fill, 'base', record, 'settled', 0,
            'left', remaining - flight, 'sets', ARGV[10], unpack(mine))
        redis.call('EXPIRE', gate, gate_seconds)
        return { 'filled', fill, record }
    end
    redis.call('HSET', gate, unpack(mine))
    redis.call('EXPIRE', gate, gate_seconds)
    -- What was settled at this offset itself is in flight no more, and remains there still.
    if record < base or record <= settled then
        return { 'ignored', fill, base }
    end
    redis.call('HSET', gate, 'left', remaining - flights(tonumber(ARGV[11])), 'base', record)
    return { 'taken', fill, record }
end

if operation == 'enter' then
    return enter()
elseif operation == 'correct' then
    return correct()
elseif operation == 'unmark' then
    return redis.call('SREM', marks(ARGV[7]), ARGV[8])
end
return redis.error_reply('there is no operation ' .. operation)
