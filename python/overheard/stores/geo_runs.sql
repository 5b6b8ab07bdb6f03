-- Brings a geo_runs table of another system (PropertyAudit and the like) up, so that overheard can use it beside that
-- system. Run it by hand, once or any number of times: psql -f geo_runs.sql, Supabase's SQL editor, or any driver. It is
-- one statement, so it happens as a whole or not at all. For a table in another schema: SET search_path TO that_schema;
--
-- What it does: adds the columns that are missing, the unique index that run_id needs, and idx_geo_runs_batch; lets
-- columns that overheard does not know be empty, for its own rows; and makes a trigger that fills run_id, org_id and model
-- of that system's rows from id, property_id and model_name, and the other way round for overheard's.
-- What it does not do: change a value of a row, but for the three columns above of rows that have a batch_id.

DO $script$
DECLARE
    ours CONSTANT text[] := ARRAY[
        'run_id', 'batch_id', 'batch_size', 'org_id', 'model', 'status', 'surface', 'query_count',
        'current_query_index', 'progress_pct', 'answered', 'failed', 'score', 'started_at', 'finished_at',
        'error_message', 'lease_owner', 'lease_expires_at_ms', 'lease_fence', 'journal_id', 'journal_host',
        'overhead_micro_usd', 'overhead_maybe_charged_micro_usd'];
    other record;
BEGIN
    ALTER TABLE geo_runs
        ADD COLUMN IF NOT EXISTS run_id text,
        ADD COLUMN IF NOT EXISTS batch_id uuid,
        ADD COLUMN IF NOT EXISTS batch_size int DEFAULT 1,
        ADD COLUMN IF NOT EXISTS org_id text,
        ADD COLUMN IF NOT EXISTS model text,
        ADD COLUMN IF NOT EXISTS status text NOT NULL DEFAULT 'queued',
        ADD COLUMN IF NOT EXISTS surface text NOT NULL DEFAULT '',
        ADD COLUMN IF NOT EXISTS query_count bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS current_query_index bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS progress_pct double precision NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS answered bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS failed bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS score double precision,
        ADD COLUMN IF NOT EXISTS started_at timestamptz,
        ADD COLUMN IF NOT EXISTS finished_at timestamptz,
        ADD COLUMN IF NOT EXISTS error_message text,
        ADD COLUMN IF NOT EXISTS lease_owner text,
        ADD COLUMN IF NOT EXISTS lease_expires_at_ms bigint,
        ADD COLUMN IF NOT EXISTS lease_fence bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS journal_id text,
        ADD COLUMN IF NOT EXISTS journal_host text,
        ADD COLUMN IF NOT EXISTS overhead_micro_usd bigint NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS overhead_maybe_charged_micro_usd bigint NOT NULL DEFAULT 0;

    -- overheard's rows know nothing of your columns: one that must have a value gets a default or may be empty.
    FOR other IN
        SELECT attname AS name, atttypid = 'uuid'::regtype AS is_uuid, attnum = ANY (coalesce(indkey, '')) AS in_key
        FROM pg_attribute LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary
        WHERE attrelid = 'geo_runs'::regclass AND attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef
            AND attidentity = '' AND attname <> ALL (ours)
    LOOP
        IF NOT other.in_key THEN
            EXECUTE format('ALTER TABLE geo_runs ALTER COLUMN %I DROP NOT NULL', other.name);
        ELSIF other.is_uuid THEN
            EXECUTE format('ALTER TABLE geo_runs ALTER COLUMN %I SET DEFAULT gen_random_uuid()', other.name);
        END IF;
    END LOOP;

    CREATE OR REPLACE FUNCTION overheard_geo_runs() RETURNS trigger LANGUAGE plpgsql AS $function$
    DECLARE
        said jsonb := to_jsonb(NEW);
    BEGIN
        IF TG_OP = 'INSERT' AND NEW.run_id IS NOT NULL THEN
            -- A row of overheard's: your columns follow, where the value is one of their type.
            BEGIN
                NEW := jsonb_populate_record(NEW, jsonb_build_object('id', NEW.run_id));
            EXCEPTION WHEN data_exception THEN NULL;
            END;
            IF said ->> 'property_id' IS NULL THEN
                BEGIN
                    NEW := jsonb_populate_record(NEW, jsonb_build_object('property_id', NEW.org_id));
                EXCEPTION WHEN data_exception THEN NULL;
                END;
            END IF;
            IF said ->> 'model_name' IS NULL THEN
                NEW := jsonb_populate_record(NEW, jsonb_build_object('model_name', NEW.model));
            END IF;
        END IF;
        NEW.run_id := coalesce(NEW.run_id, said ->> 'id', gen_random_uuid()::text);
        NEW.org_id := coalesce(NEW.org_id, said ->> 'property_id');
        NEW.model := coalesce(NEW.model, said ->> 'model_name', nullif(NEW.surface, ''));
        RETURN NEW;
    END
    $function$;
    DROP TRIGGER IF EXISTS overheard_geo_runs ON geo_runs;
    CREATE TRIGGER overheard_geo_runs BEFORE INSERT OR UPDATE ON geo_runs
        FOR EACH ROW EXECUTE FUNCTION overheard_geo_runs();

    -- Rows of a batch, which overheard reads; all others stay as they are. The trigger gives the values.
    UPDATE geo_runs SET run_id = run_id
    WHERE batch_id IS NOT NULL AND (run_id IS NULL OR org_id IS NULL OR model IS NULL);

    CREATE UNIQUE INDEX IF NOT EXISTS uq_geo_runs_run ON geo_runs (run_id);
    CREATE INDEX IF NOT EXISTS idx_geo_runs_batch ON geo_runs (batch_id);
END
$script$;
