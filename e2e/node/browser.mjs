// Chromium walks the pages of the sandbox banks, of the demo TPP and of
// Gatehouse, as a PSU does.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { demo, provider, psu, secure, side } from './demo.mjs';
import { launch, look, nothingRuns, open } from './chromium.mjs';

const limit = { timeout: 60_000 };
const tpp = `${side}/tpp/`;

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

if (!secure) describe('pages', { concurrency: 3 }, () => {
  // Each view meets each page once with JavaScript and once without.
  for (const [view, code, javaScriptEnabled] of [
    ['phone', 'demobank', true],
    ['desktop', 'examplebank', true],
    ['phone', 'examplebank', false],
    ['desktop', 'oidcbank', false],
  ]) {
    test(`approve: ${view}, ${code}, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, limit, async (t) => {
      const page = await open(t, browser, view, { javaScriptEnabled });
      const seen = javaScriptEnabled ? (name) => look(page, name) : () => {};
      await page.goto(tpp);
      await seen('tpp-home');
      await page.click(`section[aria-labelledby="${code}"] a >> nth=0`);
      await seen('login');
      await login(page, code, 'approve', () => seen('code'));
      await seen('consent');
      await page.click('#approve');
      await page.waitForURL(`${tpp}journeys/*`);
      await heading(page, `Connected to ${code}`);
      await seen('connected');
      await page.click('#refresh');
      await page.getByText('refreshes so far: 1').waitFor();
    });
  }

  test('deny, and a PSU whom the bank refuses', limit, async (t) => {
    for (const [code, username, button] of [['demobank', 'approve', '#deny'], ['examplebank', 'deny', '#approve']]) {
      const page = await open(t, browser, 'phone');
      await start(page, code);
      await login(page, code, username);
      await page.click(button);
      await heading(page, `${code} refused`);
      await page.getByText('access_denied', { exact: true }).waitFor();
      await look(page, `refused-${username}`);
    }
  });

  test('locked', limit, async (t) => {
    for (const [code, view] of [['demobank', 'phone'], ['examplebank', 'desktop']]) {
      const page = await open(t, browser, view);
      await start(page, code);
      await password(page, code, 'locked');
      await heading(page, 'Your account is locked');
      await look(page, 'locked');
      await page.click('#return');
      await heading(page, `${code} refused`);
    }
  });

  test('wrong answers', limit, async (t) => {
    const page = await open(t, browser, 'phone');
    await start(page, 'demobank');
    await page.fill('#username', 'nobody');
    await page.fill('#password', 'nothing');
    await page.keyboard.press('Enter');
    await page.getByText('The username or the password is wrong.').waitFor();
    await look(page, 'login-wrong');
    await password(page, 'demobank', 'approve');
    await page.locator('#otp').waitFor();
    await page.fill('#otp', '000000');
    await page.keyboard.press('Enter');
    await page.getByText('This is not the code.').waitFor();
    await look(page, 'code-wrong');
    await otp(page, 'demobank', 'approve');
    for (const box of await page.locator('input[type=checkbox]:checked').all()) await box.uncheck();
    await page.click('#approve');
    await page.getByText('Choose at least one account').waitFor();
    await look(page, 'consent-none');
    await page.check('input[type=checkbox] >> nth=1');
    await page.click('#approve');
    await heading(page, 'Connected to demobank');
  });

  test('too many wrong answers', limit, async (t) => {
    const page = await open(t, browser, 'desktop');
    await start(page, 'examplebank');
    for (let i = 0; i < 5; i++) {
      await page.fill('#username', 'approve');
      await page.fill('#password', `wrong ${i}`);
      await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
    }
    await heading(page, 'Too many wrong answers');
    await look(page, 'too-many');
    await page.click('#return');
    await heading(page, 'examplebank refused');
  });

  test('a bank that decides later', limit, async (t) => {
    const page = await open(t, browser, 'phone');
    await start(page, 'examplebank');
    await login(page, 'examplebank', 'slow');
    await page.click('#approve');
    await heading(page, 'examplebank has not decided yet');
    await look(page, 'too-early');
    while (await page.locator('#exchange').count()) {
      const [, seconds] = /in (\d+) second/.exec(await page.locator('main').innerText());
      await setTimeout(Number(seconds) * 1000); // Retry-After
      await Promise.all([page.waitForNavigation(), page.click('#exchange')]);
    }
    await heading(page, 'Connected to examplebank');
  });

  test('back, and the answer again', limit, async (t) => {
    const page = await open(t, browser, 'desktop');
    const answers = [];
    page.on('request', (request) => answers.push(request.url()));
    await start(page, 'demobank');
    await login(page, 'demobank', 'approve');
    await page.click('#approve');
    await heading(page, 'Connected to demobank');
    const complete = answers.find((url) => url.startsWith(`${demo.base_url}/oidc/demobank/authorize/`));
    assert.equal((await page.goto(complete)).status(), 403);
    await look(page, 'gatehouse-other-browser');
    const visit = answers.find((url) => url.includes('/demobank/visits/'));
    await page.goto(visit);
    await heading(page, 'You have answered');
    await look(page, 'answered');
  });

  test('faults that are not told to the TPP', limit, async (t) => {
    const page = await open(t, browser, 'phone');
    for (const [name, url, status] of [
      ['gatehouse-redirect-uri', authorizeURL('demobank', { redirect_uri: 'https://evil.example/' }), 400],
      ['bank-redirect-uri', authorizeURL('examplebank', { redirect_uri: 'https://evil.example/' }), 400],
      ['gatehouse-client', authorizeURL('oidcbank', { client_id: 'nobody' }), 400],
      ['bank-client', authorizeURL('examplebank', { client_id: 'nobody' }), 400],
      ['gatehouse-provider', `${demo.base_url}/oidc/no_such_bank/authorize`, 404],
      ['bank-no-visit', `${side}/demobank/login?authorization_id=none`, 404],
    ]) {
      assert.equal((await page.goto(url)).status(), status, name);
      await look(page, name);
      await nothingRuns(page);
    }
  });

  for (const view of ['phone', 'desktop']) {
    test(`documentation: ${view}`, limit, async (t) => {
      const page = await open(t, browser, view);
      for (const bank of demo.providers) {
        assert.equal((await page.goto(`${demo.base_url}/docs/open_banking/${bank.provider_code}`)).status(), 200);
        await page.getByText(bank.issuer, { exact: true }).waitFor();
        assert.doesNotMatch(await page.locator('main').innerText(), /\d{6}/); // lifetimes are in words
      }
      await look(page, 'documentation');
      assert.equal((await page.goto(`${demo.base_url}/docs/open_banking/no_such_bank`)).status(), 404);
    });
  }

  test('a script put into a page does not run', limit, async (t) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    for (const url of [authorizeURL('demobank', {}), `${demo.base_url}/docs/open_banking/demobank`, `${demo.base_url}/oidc/no_such_bank/authorize`]) {
      await page.goto(url);
      const ran = await page.evaluate(() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        return window.ran;
      });
      assert.equal(ran, undefined, page.url());
    }
  });

  const naughty = JSON.parse(readFileSync('../testdata/blns.json', 'utf8'));

  test('naughty strings in a request are not shown', limit, async (t) => {
    const pages = new Map();
    for (const text of naughty) {
      for (const parameters of [
        { client_id: text },
        { redirect_uri: text },
        { state: text, scope: text, nonce: text, claims: text, ui_locales: text, redirect_uri: 'https://evil.example/' },
        { request: text, redirect_uri: 'https://evil.example/' },
      ]) {
        const url = authorizeURL('demobank', parameters);
        const answer = await fetch(url, { redirect: 'manual' });
        const html = await answer.text();
        const reference = answer.headers.get('x-fapi-interaction-id');
        assert.equal(answer.status, 400, url);
        assert.ok(html.includes(reference));
        pages.set(html.replace(reference, ''), url);
      }
    }
    // So few pages for so many strings: nothing of them is in a page.
    assert.ok(pages.size < 10, [...pages.keys()].join('\n'));
    const page = await open(t, browser, 'desktop');
    for (const url of pages.values()) {
      await page.goto(url);
      await nothingRuns(page);
    }
  });

  test('naughty strings that are shown run nothing', limit, async (t) => {
    const page = await open(t, browser, 'phone');
    let state;
    page.on('request', (request) => { state = new URL(request.url()).searchParams.get('state') ?? state; });
    const bank = provider('demobank');
    const basic = bank.clients.find((c) => c.token_endpoint_auth_method === 'client_secret_basic');
    const chunks = naughty.reduce((all, text) => {
      if (!all.length || encodeURIComponent(`${all.at(-1)}${text.toWellFormed()}`).length > 12_000) all.push('');
      all[all.length - 1] += `${text.toWellFormed()}\n`;
      return all;
    }, []);
    for (const chunk of chunks) {
      await page.goto(`${tpp}start?${new URLSearchParams({ provider: 'demobank', client: basic.client_id })}`);
      await page.goto(`${tpp}callback?${new URLSearchParams({ state, iss: bank.issuer, error: chunk.slice(0, 500), error_description: chunk })}`);
      await heading(page, 'demobank refused');
      await nothingRuns(page);
      const shown = await page.locator('dd').allTextContents();
      for (const word of chunk.match(/[a-z]{6,}/gi) ?? []) assert.ok(shown.join(' ').includes(word), word);
    }
  });
});

if (secure) {
  test('cookies', limit, async (t) => {
    for (const [code, view] of [['demobank', 'phone'], ['examplebank', 'desktop']]) {
      const page = await open(t, browser, view);
      const context = page.context();
      const visitCookie = async () => {
        const cookies = await context.cookies();
        for (const { name, value, domain, path, secure, httpOnly, sameSite } of cookies) {
          assert.match(name, /^__Host-/);
          assert.match(value, /^[\w-]{43}$/); // random, so nothing of the PSU
          assert.deepEqual({ domain, path, secure, httpOnly, sameSite }, { domain: '127.0.0.1', path: '/', secure: true, httpOnly: true, sameSite: 'Lax' });
        }
        return cookies.find(({ name }) => name.includes('visit'));
      };
      await start(page, code);
      const arrived = await visitCookie();
      await password(page, code, 'approve');
      await page.locator('#otp').waitFor();
      const known = await visitCookie();
      assert.notEqual(known.value, arrived.value);
      await otp(page, code, 'approve');
      const sure = await visitCookie();
      assert.ok(![arrived.value, known.value].includes(sure.value));

      await context.addCookies([known]); // what somebody knew before is worth nothing now
      assert.equal((await page.reload()).status(), 403);
      await context.addCookies([sure]);
      await page.reload();
      await page.click('#approve');
      await heading(page, `Connected to ${code}`);
      const left = (await context.cookies()).map(({ name }) => name).filter((name) => name.includes('gatehouse'));
      assert.deepEqual(left, []);
    }
  });
}

// start goes from the TPP's page to the bank's login.
async function start(page, code) {
  await page.goto(`${tpp}start?provider=${code}`);
}

async function password(page, code, username) {
  const { password } = psu(provider(code), username);
  await page.fill('#username', username);
  await page.fill('#password', password);
  await page.press('#password', 'Enter');
}

async function otp(page, code, username) {
  await page.fill('#otp', psu(provider(code), username).otp);
  await page.press('#otp', 'Enter');
  await page.locator('#approve').waitFor();
}

async function login(page, code, username, atCode = () => {}) {
  await password(page, code, username);
  await page.locator('#otp').waitFor();
  await atCode();
  await otp(page, code, username);
}

async function heading(page, text) {
  await page.locator('h1', { hasText: text }).waitFor();
}

// authorizeURL makes a plain authorization request, with some parameters put
// in its place.
function authorizeURL(code, parameters) {
  const bank = provider(code);
  const client = bank.clients[0];
  const endpoint = bank.door === 'bank'
    ? `${side}/${code}/authorize`
    : `${demo.base_url}/oidc/${code}/authorize`;
  return `${endpoint}?${new URLSearchParams({
    response_type: 'code', client_id: client.client_id, redirect_uri: client.redirect_uris[0],
    scope: 'openid accounts', state: 'a-state', nonce: 'a-nonce', ...parameters,
  })}`;
}
