// A browser that is watched: it stays with the demo, its pages have the headers
// they must have, and nothing in them runs.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:tls';
import { chromium } from 'playwright-core';
import { demo, secure, side } from './demo.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const views = {
  small: { width: 360, height: 740 },
  phone: { width: 390, height: 844 },
  desktop: { width: 1280, height: 800 },
};

export async function launch() {
  const args = [
    '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--no-first-run', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ];
  if (secure) args.push(`--ignore-certificate-errors-spki-list=${await serverKey()}`);
  return chromium.launch({ executablePath: process.env.GATEHOUSE_CHROMIUM, args });
}

// serverKey returns the hash of the server's public key, by which chromium
// takes a certificate whose CA it does not know. Node knows the CA and has
// checked the certificate by then.
function serverKey() {
  const { hostname, port } = new URL(demo.base_url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port }, () => {
      const key = socket.getPeerX509Certificate().publicKey.export({ type: 'spki', format: 'der' });
      socket.destroy();
      resolve(createHash('sha256').update(key).digest('base64'));
    });
    socket.on('error', reject);
  });
}

// open returns a page of a fresh browser profile. What is wrong with anything
// it sees fails the test at its end.
export async function open(t, browser, view, options = {}) {
  const context = await browser.newContext({ viewport: views[view], ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const faults = [];
  page.on('dialog', (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (err) => faults.push(`script error: ${err}`));
  page.on('console', (line) => {
    if (/content security policy/i.test(line.text())) faults.push(`${page.url()}: ${line.text()}`);
  });
  page.on('request', (request) => {
    if (!ours(request.url())) faults.push(`request to ${request.url()}`);
  });
  page.on('response', (response) => {
    if (response.request().resourceType() === 'document') faults.push(...headerFaults(response));
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  return page;
}

function ours(url) {
  return [demo.base_url, side].includes(new URL(url).origin);
}

function headerFaults(response) {
  const headers = response.headers();
  const wanted = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
  const policy = (headers['content-security-policy'] ?? '').split(/\s*;\s*/);
  const faults = [];
  if (headers.location === undefined) {
    wanted['x-frame-options'] = 'DENY';
    wanted['referrer-policy'] = 'no-referrer';
    for (const directive of ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"]) {
      if (!policy.includes(directive)) faults.push(`no ${directive} in ${policy}`);
    }
    if (/script-src|unsafe/.test(policy)) faults.push(`${policy}`);
  }
  for (const [name, value] of Object.entries(wanted)) {
    if (headers[name] !== value) faults.push(`${name} is ${headers[name]}, not ${value}`);
  }
  return faults.map((fault) => `${response.url()}: ${fault}`);
}

// look leaves pictures for a person, and checks what a program can: nothing
// sticks out sideways, and axe finds nothing, in light and in dark.
export async function look(page, name) {
  const { width } = page.viewportSize();
  const view = Object.keys(views).find((key) => views[key].width === width);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  const found = [];
  await page.evaluate(axe);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${process.env.GATEHOUSE_SCREENSHOTS}/${name}-${view}-${colorScheme}.png`, fullPage: true });
    const { violations } = await page.evaluate(
      (options) => window.axe.run({ resultTypes: ['violations'], preload: false, ...options }),
      colorScheme === 'dark' && { runOnly: ['color-contrast'] }, // all that differs
    );
    for (const { impact, id, help, nodes } of violations) {
      found.push(`${colorScheme}: ${impact} ${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`);
    }
  }
  assert.deepEqual(found, [], name);
  assert.ok(wide <= width, `${name}: ${wide} pixels wide on a ${view}`);
}

// nothingRuns: the page has nothing that could run or load.
export async function nothingRuns(page) {
  const found = await page.evaluate(() =>
    [...document.querySelectorAll('*')]
      .filter((e) => /^(script|iframe|object|embed|img|svg|math)$/i.test(e.tagName) || [...e.attributes].some((a) => /^on/i.test(a.name)))
      .map((e) => e.outerHTML),
  );
  assert.deepEqual(found, []);
}
