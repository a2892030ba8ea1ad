// What the tests know of the program: the demo.json that GATEHOUSE_DEMO names.
import { readFileSync } from 'node:fs';

export const demo = JSON.parse(readFileSync(process.env.GATEHOUSE_DEMO, 'utf8'));

export const secure = demo.base_url.startsWith('https:');

// side is where the sandbox banks and the demo TPP have their pages.
export const side = new URL(demo.providers[0].clients[0].redirect_uris[0]).origin;

export function provider(code) {
  return find(demo.providers, (p) => p.provider_code === code, code);
}

export function psu(bank, username) {
  return find(bank.psus, (p) => p.username === username, username);
}

function find(list, wanted, name) {
  const found = list.find(wanted);
  if (!found) throw new Error(`demo.json has no ${name}`);
  return found;
}
