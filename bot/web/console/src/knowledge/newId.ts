/** A name for a new entry that no entry has yet. */
import * as calls from '../api/knowledge'
import { suggestId } from './text'

export async function freeId(category: string): Promise<string> {
  // Names that are taken begin with the same stem, so a search for it finds them all.
  const stem = suggestId(category, new Set())
  const found = await calls.search({ q: stem, state: null, category: '', audience: null, region: '', to_check: false, own: null, skip: 0 })
  return suggestId(category, new Set(found.items.map((one) => one.id)))
}
