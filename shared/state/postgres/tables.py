"""
The tables and the one function of the quota in PostgreSQL.

``qudao_exchange`` does for a process, in one transaction under the lock of one API, what ``shared.state.sqlite.ledger``
does in SQLite: it counts what ended, gives back what the dead held, and grants what the limits leave room for. All
times are the database's own, in seconds.
"""

from typing import Final

STEPS: Final = (
    """
CREATE TABLE qudao_store AS SELECT md5(random()::text || clock_timestamp()::text) AS id;
CREATE TABLE qudao_api (corp text, endpoint text, PRIMARY KEY (corp, endpoint));
CREATE TABLE qudao_worker (
    corp text, worker text, seen double precision NOT NULL, died double precision, file text NOT NULL,
    limits text NOT NULL, PRIMARY KEY (corp, worker)
);
CREATE TABLE qudao_running (
    id bigserial PRIMARY KEY, corp text NOT NULL, endpoint text NOT NULL, worker text NOT NULL
);
CREATE INDEX qudao_running_api ON qudao_running (corp, endpoint);
CREATE INDEX qudao_running_worker ON qudao_running (corp, worker);
CREATE TABLE qudao_waiting (
    corp text, endpoint text, worker text, fast boolean, rank double precision NOT NULL,
    PRIMARY KEY (corp, endpoint, worker, fast)
);
CREATE TABLE qudao_ended (
    corp text, endpoint text, span text, ended_by double precision, calls integer NOT NULL,
    PRIMARY KEY (corp, endpoint, span, ended_by)
);
CREATE TABLE qudao_hold (
    number bigserial PRIMARY KEY, corp text NOT NULL, kind text NOT NULL, endpoint text NOT NULL, staff text NOT NULL,
    version integer NOT NULL, until double precision NOT NULL, closed boolean NOT NULL, long boolean NOT NULL,
    errcode integer, reason text NOT NULL, UNIQUE (corp, kind, endpoint, staff)
);
CREATE TABLE qudao_claim (
    corp text, name text, until double precision NOT NULL, owner text NOT NULL, PRIMARY KEY (corp, name)
);

CREATE FUNCTION qudao_now() RETURNS double precision LANGUAGE sql AS
$$ SELECT extract(epoch FROM clock_timestamp())::double precision $$;

-- A call that ended just now, in the buckets of both windows.
CREATE FUNCTION qudao_count_ended(c text, e text, calls integer, now double precision, minute double precision,
    hour double precision) RETURNS void LANGUAGE sql AS $$
    INSERT INTO qudao_ended VALUES
        (c, e, 'minute', (floor(now / (minute / 200)) + 1) * (minute / 200), calls),
        (c, e, 'hour', (floor(now / (hour / 720)) + 1) * (hour / 720), calls)
    ON CONFLICT (corp, endpoint, span, ended_by) DO UPDATE SET calls = qudao_ended.calls + excluded.calls
$$;

-- Gives back the places of processes that are gone for a while; their calls may have been made until just now.
CREATE FUNCTION qudao_bury(c text, me text, now double precision, lease double precision, rest double precision,
    minute double precision, hour double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE other record; place record;
BEGIN
    FOR other IN SELECT worker, died, seen FROM qudao_worker
        WHERE corp = c AND worker <> me AND seen <= now - lease FOR UPDATE SKIP LOCKED
    LOOP
        DELETE FROM qudao_waiting WHERE corp = c AND worker = other.worker;
        IF other.died IS NULL AND EXISTS (SELECT 1 FROM qudao_running WHERE corp = c AND worker = other.worker) THEN
            UPDATE qudao_worker SET died = other.seen + lease WHERE corp = c AND worker = other.worker;
        ELSIF other.died IS NULL OR now >= other.died + rest THEN
            FOR place IN SELECT endpoint, count(*)::integer AS calls FROM qudao_running
                WHERE corp = c AND worker = other.worker GROUP BY endpoint
            LOOP
                PERFORM qudao_count_ended(c, place.endpoint, place.calls, now, minute, hour);
            END LOOP;
            DELETE FROM qudao_running WHERE corp = c AND worker = other.worker;
            DELETE FROM qudao_worker WHERE corp = c AND worker = other.worker;
        END IF;
    END LOOP;
END $$;

-- When so many calls have left a window; null when running calls must end before.
CREATE FUNCTION qudao_room_at(c text, e text, which text, seconds double precision, over integer,
    now double precision) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE bucket record; remaining integer := over; at double precision := now;
BEGIN
    FOR bucket IN SELECT ended_by, calls FROM qudao_ended
        WHERE corp = c AND endpoint = e AND span = which AND ended_by > now - seconds ORDER BY ended_by
    LOOP
        EXIT WHEN remaining <= 0;
        remaining := remaining - bucket.calls;
        at := greatest(at, bucket.ended_by + seconds);
    END LOOP;
    IF remaining > 0 THEN RETURN NULL; END IF;
    RETURN at;
END $$;

-- What one process asks for. `wanted` and `urgent` are the lanes of those next in its line, `ages` how long the first
-- of each waits, its lane's head start taken off; `limits` are minute, hour and a part of it, for fast, live and bulk.
CREATE FUNCTION qudao_exchange(c text, e text, me text, held bigint[], wanted text[], urgent text[],
    ages double precision[], limits integer[], places integer, minute double precision, hour double precision,
    part double precision, lease double precision, rest double precision, asking double precision)
    RETURNS TABLE (lanes text[], ids bigint[], room_at double precision, shared boolean, lost bigint[],
        now_at double precision, holds bigint) LANGUAGE plpgsql AS $$
DECLARE
    now double precision; ended integer; used_minute integer; used_hour integer; used_part integer; running integer;
    mine integer;
    only_fast boolean; waiting_ahead integer := 0; waiting_others integer; my_rank double precision := 0;
    lane text; row_id bigint; closed text; at integer;
    minute_at double precision; hour_at double precision; part_at double precision; in_line text[];
BEGIN
    INSERT INTO qudao_api VALUES (c, e) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM qudao_api WHERE corp = c AND endpoint = e FOR UPDATE;
    now := qudao_now();
    PERFORM qudao_bury(c, me, now, lease, rest, minute, hour);
    -- also one that was buried while it was stopped: what it is granted must be somebody's
    INSERT INTO qudao_worker (corp, worker, seen, file, limits) VALUES (c, me, now, '', '')
        ON CONFLICT (corp, worker) DO UPDATE SET seen = now, died = NULL WHERE qudao_worker.seen < now - asking / 3;

    WITH gone AS (
        DELETE FROM qudao_running WHERE corp = c AND endpoint = e AND worker = me AND NOT id = ANY (held) RETURNING 1
    ) SELECT count(*)::integer INTO ended FROM gone;
    IF ended > 0 THEN
        PERFORM qudao_count_ended(c, e, ended, now, minute, hour);
    END IF;
    DELETE FROM qudao_ended WHERE corp = c AND endpoint = e
        AND ((span = 'minute' AND ended_by <= now - minute) OR (span = 'hour' AND ended_by <= now - hour));

    -- in one statement: somebody else may bury one who called this API, and each statement sees a state of its own
    SELECT coalesce(sum(calls) FILTER (WHERE span = 'minute'), 0), coalesce(sum(calls) FILTER (WHERE span = 'hour'), 0),
            coalesce(sum(calls) FILTER (WHERE span = 'hour' AND ended_by > now - part), 0),
            (SELECT count(*) FROM qudao_running WHERE corp = c AND endpoint = e)
        INTO used_minute, used_hour, used_part, running FROM qudao_ended WHERE corp = c AND endpoint = e;
    used_minute := used_minute + running;
    used_hour := used_hour + running;
    used_part := used_part + running;

    only_fast := used_minute + 1 > limits[4] OR used_hour + 1 > limits[5];
    in_line := CASE WHEN only_fast THEN urgent ELSE wanted END;
    my_rank := now - coalesce(ages[CASE WHEN only_fast THEN 2 ELSE 1 END], 0);
    SELECT count(*) FILTER (WHERE w.fast = only_fast AND (w.rank, w.worker) < (my_rank, me)), count(*)
        INTO waiting_ahead, waiting_others
        FROM qudao_waiting w JOIN qudao_worker p USING (corp, worker)
        WHERE w.corp = c AND w.endpoint = e AND w.worker <> me AND p.seen > now - asking;

    lanes := '{}'; ids := '{}';
    FOREACH lane IN ARRAY coalesce(in_line, '{}') LOOP
        EXIT WHEN places - running <= waiting_ahead;
        at := CASE lane WHEN 'fast' THEN 1 WHEN 'live' THEN 4 ELSE 7 END;
        IF used_minute + 1 + waiting_ahead > limits[at] OR used_hour + 1 + waiting_ahead > limits[at + 1]
            OR used_part + 1 + waiting_ahead > limits[at + 2] THEN
            closed := lane;
            CONTINUE;
        END IF;
        INSERT INTO qudao_running (corp, endpoint, worker) VALUES (c, e, me) RETURNING id INTO row_id;
        lanes := lanes || lane;
        ids := ids || row_id;
        running := running + 1;
        used_minute := used_minute + 1;
        used_hour := used_hour + 1;
        used_part := used_part + 1;
    END LOOP;
    DELETE FROM qudao_waiting WHERE corp = c AND endpoint = e AND worker = me;
    IF cardinality(wanted) > cardinality(ids) THEN
        INSERT INTO qudao_waiting SELECT c, e, me, f.fast, now - f.age
            FROM (VALUES (false, ages[1]), (true, ages[2])) AS f (fast, age) WHERE f.age IS NOT NULL;
    END IF;
    IF only_fast AND array_length(wanted, 1) > 0 AND array_length(urgent, 1) IS NULL THEN
        closed := wanted[1];
    END IF;
    IF closed IS NOT NULL THEN
        at := CASE closed WHEN 'fast' THEN 1 WHEN 'live' THEN 4 ELSE 7 END;
        minute_at := qudao_room_at(c, e, 'minute', minute, used_minute + 1 + waiting_ahead - limits[at], now);
        hour_at := qudao_room_at(c, e, 'hour', hour, used_hour + 1 + waiting_ahead - limits[at + 1], now);
        part_at := qudao_room_at(c, e, 'hour', part, used_part + 1 + waiting_ahead - limits[at + 2], now);
        IF minute_at IS NOT NULL AND hour_at IS NOT NULL AND part_at IS NOT NULL THEN
            room_at := greatest(minute_at, hour_at, part_at);
        END IF;
    END IF;

    IF room_at IS NULL THEN
        SELECT min(p.died) + rest INTO room_at FROM qudao_worker p WHERE p.corp = c AND p.died IS NOT NULL
            AND EXISTS (SELECT 1 FROM qudao_running r WHERE r.corp = c AND r.endpoint = e AND r.worker = p.worker);
    END IF;

    SELECT count(*) INTO mine FROM qudao_running WHERE corp = c AND endpoint = e AND worker = me;
    shared := waiting_others > 0 OR running > mine;
    SELECT coalesce(array_agg(h), '{}') INTO lost FROM unnest(held) AS h
        WHERE NOT EXISTS (SELECT 1 FROM qudao_running r WHERE r.id = h);
    SELECT coalesce(max(number), 0) INTO holds FROM qudao_hold WHERE corp = c;
    now_at := now;
    -- as many as there are places free, those who have waited longest: to wake all would be a crowd for each call
    IF ended > 0 AND waiting_others > 0 AND places > running THEN
        PERFORM pg_notify('qudao', c || '|' || e || '|' || first.worker) FROM (
            SELECT w.worker FROM qudao_waiting w JOIN qudao_worker p USING (corp, worker)
            WHERE w.corp = c AND w.endpoint = e AND w.worker <> me AND w.fast = only_fast AND p.seen > now - asking
            ORDER BY w.rank LIMIT places - running
        ) AS first;
    END IF;
    RETURN NEXT;
END $$;
""",
)
