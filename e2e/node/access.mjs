// Chromium goes to the PSU's page as a PSU does: from the bank, to see who has
// access and to withdraw it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { demo, provider, psu, secure, side } from './demo.mjs';
import { launch, look, nothingRuns, open } from './chromium.mjs';

const limit = { timeout: 60_000 };
const tpp = `${side}/tpp/`;
// Other tests approve, too. Nobody else chooses just these accounts.
const all = ['acc-current', 'acc-savings', 'acc-card'];
const byMouse = ['acc-savings', 'acc-card'];
const byKeyboard = ['acc-card'];

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

describe('access', { concurrency: 2 }, () => {
  for (const [view, code, javaScriptEnabled] of [
    ['small', 'demobank', true],
    ['desktop', 'examplebank', true],
    ['small', 'oidcbank', false],
  ]) {
    test(`list, withdraw, leave: ${view}, ${code}, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, limit, async (t) => {
      const page = await open(t, browser, view, { javaScriptEnabled });
      const seen = javaScriptEnabled && !secure ? (name) => look(page, name) : () => {};
      const urls = [];
      page.on('request', (request) => urls.push(request.url()));
      const journey = await connect(page, code, byMouse);

      await page.goto(`${side}/${code}/access`);
      await seen('access-bank');
      await handOver(page, code);
      await heading(page, 'Who has access to your accounts');
      assert.equal(page.url(), `${demo.base_url}/oidc/${code}/access`);
      await nothingRuns(page);
      const mine = entry(page, byMouse);
      assert.equal(await mine.count(), 1);
      await mine.getByText('Demo TPP', { exact: true }).first().waitFor();
      await seen('access');

      await cookies(page, code, urls);
      await mine.getByRole('link', { name: 'Withdraw access of Demo TPP' }).click();
      await heading(page, 'Withdraw the access of Demo TPP?');
      await nothingRuns(page);
      await seen('access-withdraw');
      const question = page.url();
      await page.getByRole('link', { name: 'Keep it' }).click();
      assert.equal(await mine.count(), 1);
      await page.goto(question);
      await page.click('#withdraw');
      await page.getByRole('status').getByText('You have withdrawn the access of Demo TPP.').waitFor();
      assert.equal(await mine.count(), 0);
      await seen('access-withdrawn');
      await page.reload(); // asks nothing, does nothing
      assert.equal(await mine.count(), 0);

      await page.getByRole('link', { name: 'Past access' }).first().click();
      await heading(page, 'Past access to your accounts');
      const past = entry(page, byMouse).filter({ hasText: 'You withdrew it' });
      assert.ok(await past.count() > 0);
      await nothingRuns(page);
      await seen('access-history');

      const list = page.url();
      await page.goto(journey);
      await page.click('#refresh');
      await page.getByText('invalid_grant', { exact: true }).waitFor();

      await page.goto(list);
      await page.click('#leave');
      await heading(page, 'You have left this page');
      await seen('access-left');
      assert.equal((await page.goto(list)).status(), 403);
      await heading(page, 'This page is closed');
      await seen('access-closed');
      assert.deepEqual((await page.context().cookies()).filter(({ name }) => name.includes('access')), []);
    });
  }

  test('links and cookies are of one browser and one bank', limit, async (t) => {
    const page = await open(t, browser, 'small');
    const urls = [];
    page.on('request', (request) => urls.push(request.url()));
    await page.goto(`${side}/demobank/access`);
    await handOver(page, 'demobank');
    await heading(page, 'Who has access to your accounts');
    const link = urls.find((url) => url.includes('/access/enter/'));

    const other = await open(t, browser, 'small');
    assert.equal((await other.goto(link)).status(), 403);
    await heading(other, 'This link does not open any more');
    await nothingRuns(other);
    if (!secure) await look(other, 'access-link');
    assert.equal((await other.goto(`${demo.base_url}/oidc/demobank/access`)).status(), 403);

    const [{ name, ...cookie }] = await page.context().cookies();
    assert.equal((await page.goto(`${demo.base_url}/oidc/oidcbank/access`)).status(), 403);
    await page.context().addCookies([{ name: name.replace('demobank', 'oidcbank'), ...cookie }]);
    assert.equal((await page.goto(`${demo.base_url}/oidc/oidcbank/access`)).status(), 403);
    assert.equal((await page.goto(`${demo.base_url}/oidc/demobank/access`)).status(), 200);
  });

  test('by keyboard', limit, async (t) => {
    const page = await open(t, browser, 'small');
    await connect(page, 'examplebank', byKeyboard);
    await page.goto(`${side}/examplebank/access`);
    await handOver(page, 'examplebank');
    await heading(page, 'Who has access to your accounts');
    await page.keyboard.press('Tab');
    const skip = page.getByRole('link', { name: 'Skip to the content' });
    assert.ok(await skip.evaluate((e) => e === document.activeElement && e.getBoundingClientRect().left >= 0));
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab'); // on from the content
    assert.ok(await page.evaluate(() => document.querySelector('main').contains(document.activeElement)));
    const link = entry(page, byKeyboard).getByRole('link');
    while (!await link.evaluate((e) => e === document.activeElement)) await page.keyboard.press('Tab');
    assert.notEqual(await link.evaluate((e) => getComputedStyle(e).outlineStyle), 'none');
    await page.keyboard.press('Enter');
    await heading(page, 'Withdraw the access of Demo TPP?');
    const button = page.locator('#withdraw');
    while (!await button.evaluate((e) => e === document.activeElement)) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('status').waitFor();
    assert.equal(await entry(page, byKeyboard).count(), 0);
  });
});

// entry finds the access to just these accounts.
function entry(page, accounts) {
  return all.reduce(
    (found, account) => found.filter(accounts.includes(account) ? { hasText: account } : { hasNotText: account }),
    page.getByRole('article'),
  );
}

// connect takes a PSU through a whole visit and returns the TPP's page.
async function connect(page, code, accounts) {
  await page.goto(`${tpp}start?provider=${code}`);
  await page.fill('#username', 'approve');
  await page.fill('#password', psu(provider(code), 'approve').password);
  await page.press('#password', 'Enter');
  await page.fill('#otp', psu(provider(code), 'approve').otp);
  await page.press('#otp', 'Enter');
  await page.locator('#approve').waitFor();
  for (const box of await page.locator('input[type=checkbox]').all()) {
    await box.setChecked(accounts.includes(await box.getAttribute('value')));
  }
  await page.click('#approve');
  await heading(page, `Connected to ${code}`);
  return page.url();
}

async function handOver(page, code) {
  await page.fill('#username', 'approve');
  await page.fill('#password', psu(provider(code), 'approve').password);
  await page.fill('#otp', psu(provider(code), 'approve').otp);
  await page.press('#otp', 'Enter');
}

// cookies: the session is in one cookie that tells nothing and was in no URL.
async function cookies(page, code, urls) {
  const all = (await page.context().cookies()).filter(({ name }) => name.includes('access'));
  assert.equal(all.length, 1);
  const [{ name, value, path, httpOnly, sameSite, ...cookie }] = all;
  assert.equal(name, `${secure ? '__Host-' : ''}gatehouse-access-${code}`);
  assert.match(value, /^[\w-]{43}$/);
  assert.deepEqual({ path, httpOnly, sameSite, secure: cookie.secure }, { path: '/', httpOnly: true, sameSite: 'Lax', secure });
  assert.ok(urls.every((url) => !url.includes(value) && !url.includes('psu-')));
}

async function heading(page, text) {
  await page.locator('h1', { hasText: text }).waitFor();
}
