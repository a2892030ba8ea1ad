// Package gatehouse is the language of the authorization server: the nouns
// (Provider, Client, Authorization, Grant, tokens), the error table and the
// storage contract. It knows no HTTP, no SQL and starts no goroutine; every
// other package is written in its terms.
//
// A Provider is one bank. A Client is one registered application of a third
// party (TPP). A bank's customer (PSU) visits once per Authorization; what the
// PSU allowed is a Grant, and every token is a handle to a Grant.
package gatehouse
