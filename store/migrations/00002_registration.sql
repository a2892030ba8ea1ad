-- Clients that registered themselves, their end, and the search for them.

-- +goose Up

ALTER TABLE clients ADD COLUMN status TEXT NOT NULL DEFAULT 'active';
ALTER TABLE clients ADD COLUMN directory TEXT COLLATE "binary";
ALTER TABLE clients ADD COLUMN tpp TEXT COLLATE "binary";
ALTER TABLE clients ADD COLUMN software_id TEXT COLLATE "binary";
ALTER TABLE clients ADD COLUMN registration_token_hash TEXT;

CREATE INDEX clients_software ON clients (directory, tpp, software_id, created_at) WHERE software_id IS NOT NULL;
CREATE INDEX grants_client ON grants (client_id COLLATE "binary");
