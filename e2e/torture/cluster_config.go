//go:build linux

package main

import (
	"net/netip"
	"text/template"
)

// The configuration files of the cluster; docs/operations.md says why they are
// as they are.

// patroniConfig is that of a member.
// https://patroni.readthedocs.io/en/latest/dynamic_configuration.html says that
// ttl is at least 20 s, and loop_wait + 2 * retry_timeout at most ttl. It speaks
// version 2 of etcd's protocol: with version 3, Patroni before 3.0.3 takes the
// lead back from its successor when it wakes after its lease ran out
// (https://github.com/patroni/patroni/pull/2689), and Debian 12 has 3.0.2.
var patroniConfig = template.Must(template.New("patroni").Parse(`
scope: gatehouse
name: {{.Member.Name}}
restapi: {listen: '{{.Member.REST}}', connect_address: '{{.Member.REST}}'}
etcd: {hosts: ['{{.Etcd}}']}
watchdog: {mode: 'off'}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 3
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    synchronous_mode_strict: true
    failsafe_mode: true
    primary_start_timeout: 0
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        max_connections: 100
        shared_buffers: 32MB
        synchronous_commit: 'on'
        wal_sender_timeout: 5s
        wal_receiver_timeout: 5s
  initdb: [data-checksums, encoding: UTF8, locale: C, auth: scram-sha-256]
postgresql:
  listen: '{{.Member.Address}}'
  connect_address: '{{.Member.Address}}'
  data_dir: '{{.Member.Data}}'
  bin_dir: '{{.Bin}}'
  pgpass: '{{.Dir}}/{{.Member.Name}}.pgpass'
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {username: postgres, password: '{{.Password}}'}
    replication: {username: replicator, password: '{{.Password}}'}
    rewind: {username: rewinder, password: '{{.Password}}'}
  pg_hba:
  - host all all 127.0.0.1/32 scram-sha-256
  - host replication replicator 127.0.0.1/32 scram-sha-256
  parameters: {unix_socket_directories: ''}
`))

// haproxyConfig leads to the member whose Patroni says that it is the leader,
// and cuts what still leads to another.
// https://docs.haproxy.org/2.6/configuration.html
var haproxyConfig = template.Must(template.New("haproxy").Funcs(addressParts).Parse(`
global
  maxconn 500
defaults
  mode tcp
  timeout connect 1s
  timeout client 30m
  timeout server 30m
  timeout check 1s
listen leader
  bind {{.Entry}}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 500ms fastinter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
{{- range .Members}}
  server {{.Name}} {{.Address}} check addr {{host .REST}} port {{port .REST}}
{{- end}}
`))

// pgbouncerConfig is that of a replica's PgBouncer.
// https://www.pgbouncer.org/config.html
var pgbouncerConfig = template.Must(template.New("pgbouncer").Funcs(addressParts).Parse(`
[databases]
* = host={{host .Entry}} port={{port .Entry}}
[pgbouncer]
listen_addr = {{host .Listen}}
listen_port = {{port .Listen}}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {{.Dir}}/users.txt
pool_mode = transaction
max_client_conn = 200
default_pool_size = 20
server_connect_timeout = 2
server_login_retry = 1
query_wait_timeout = 3
`))

// pgbouncerUsers are those who may log in, by a password.
var pgbouncerUsers = template.Must(template.New("users").Parse(`"gatehouse" "{{.}}"
"postgres" "{{.}}"
`))

// addressParts take an address apart.
var addressParts = template.FuncMap{
	"host": func(address string) string { return netip.MustParseAddrPort(address).Addr().String() },
	"port": func(address string) uint16 { return netip.MustParseAddrPort(address).Port() },
}
