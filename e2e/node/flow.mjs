// openid-client gets tokens from every bank with every client of the demo.
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as oauth from 'openid-client';
import { demo, psu, secure } from './demo.mjs';
import { visit } from './visit.mjs';

const limit = { timeout: 60_000 };

// Web Cryptography's names of the two algorithms.
const algorithms = { RS256: 'RSASSA-PKCS1-v1_5', PS256: 'RSA-PSS' };

for (const bank of demo.providers) {
  for (const client of bank.clients) {
    test([bank.provider_code, client.token_endpoint_auth_method, client.alg].join(' '), limit, async (t) => {
      const key = client.key_file && (await readKey(client));
      const config = await discover(bank, client, key, 'oidc');

      await t.test('discovery by RFC 8414 says the same', limit, async () => {
        const other = await discover(bank, client, key, 'oauth2');
        assert.deepEqual(other.serverMetadata(), config.serverMetadata());
      });

      await t.test('code, exchange, refresh', limit, async () => {
        const { back, checks } = await authorize(config, bank, client, key, 'approve');
        const tokens = await oauth.authorizationCodeGrant(config, back, { ...checks, idTokenExpected: true });
        checkTokens(tokens, bank, client);
        assert.equal(tokens.claims().nonce, checks.expectedNonce);
        assert.ok(tokens.claims().auth_time > 0);
        assert.equal(tokens.scope, 'openid accounts');

        const renewed = await oauth.refreshTokenGrant(config, tokens.refresh_token);
        checkTokens(renewed, bank, client);
        assert.notEqual(renewed.access_token, tokens.access_token);
        assert.equal(renewed.claims().sub, tokens.claims().sub);

        await assert.rejects(oauth.authorizationCodeGrant(config, back, checks), refused(400, 'invalid_grant'));
        await assert.rejects(oauth.refreshTokenGrant(config, tokens.refresh_token), refused(400, 'invalid_grant'));
      });

      await t.test('a PSU who denies', limit, async () => {
        const { back, checks } = await authorize(config, bank, client, key, 'deny');
        assert.equal(back.searchParams.get('iss'), bank.issuer);
        await assert.rejects(oauth.authorizationCodeGrant(config, back, checks), (err) => {
          assert.ok(err instanceof oauth.AuthorizationResponseError, err);
          assert.equal(err.error, 'access_denied');
          return true;
        });
      });

      await t.test('client credentials', limit, async () => {
        const tokens = await oauth.clientCredentialsGrant(config, { scope: 'accounts' });
        assert.equal(tokens.token_type, 'bearer'); // openid-client writes it so
        assert.equal(tokens.scope, 'accounts');
        assert.ok(tokens.expires_in > 0);
        if (bank.profile === 'psd2') checkTokens(tokens, bank, client);
        else assert.deepEqual([tokens.id_token, tokens.refresh_token], [undefined, undefined]);
        await assert.rejects(
          oauth.clientCredentialsGrant(config, { scope: 'everything' }),
          refused(400, 'invalid_scope'),
        );
      });
    });
  }
}

async function readKey({ key_file, kid, alg }) {
  const der = createPrivateKey(readFileSync(key_file)).export({ type: 'pkcs8', format: 'der' });
  const algorithm = { name: algorithms[alg], hash: 'SHA-256' };
  return { kid, key: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']) };
}

// discover makes openid-client ready for one client. enableNonRepudiationChecks
// makes it verify the signature of every ID Token.
function discover(bank, client, key, algorithm) {
  const execute = [oauth.enableNonRepudiationChecks];
  if (!secure) execute.push(oauth.allowInsecureRequests);
  const authentication = key ? oauth.PrivateKeyJwt(key) : oauth.ClientSecretBasic(client.client_secret);
  return oauth.discovery(new URL(bank.issuer), client.client_id, {}, authentication, { execute, algorithm });
}

// authorize sends a PSU to the bank: with a signed request object when the
// client has a key, else with plain parameters.
async function authorize(config, bank, client, key, button) {
  const checks = {
    pkceCodeVerifier: oauth.randomPKCECodeVerifier(),
    expectedState: oauth.randomState(),
    expectedNonce: oauth.randomNonce(),
  };
  const parameters = {
    redirect_uri: client.redirect_uris[0],
    scope: 'openid accounts',
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
    code_challenge_method: 'S256',
  };
  const url = key
    ? await oauth.buildAuthorizationUrlWithJAR(config, parameters, key)
    : oauth.buildAuthorizationUrl(config, parameters);
  assert.equal(url.searchParams.has('request'), Boolean(key));
  return { back: await visit(url, parameters.redirect_uri, psu(bank, 'approve'), button), checks };
}

// checkTokens looks at what openid-client leaves to its caller. It has
// verified signature, iss, aud, exp, iat and nonce.
function checkTokens(tokens, bank, client) {
  const claims = tokens.claims();
  assert.equal(claims.iss, bank.issuer);
  assert.equal(claims.aud, client.client_id);
  const digest = createHash('sha256').update(tokens.access_token).digest();
  assert.equal(claims.at_hash, digest.subarray(0, 16).toString('base64url'));
  assert.ok(tokens.refresh_token);
  assert.ok(tokens.expires_in > 0);
}

function refused(status, code) {
  return (err) => {
    assert.ok(err instanceof oauth.ResponseBodyError, err);
    assert.deepEqual([err.status, err.error], [status, code]);
    return true;
  };
}
