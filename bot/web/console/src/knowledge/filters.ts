/** What the list of entries is narrowed to. In memory, so that coming back from an entry shows the list as it was left. */
import { reactive } from 'vue'
import type { Audience, EntryState } from '../api/knowledge'

export interface Filters {
  q: string
  state: EntryState | ''
  category: string | null
  audience: Audience | ''
  region: string
  to_check: boolean
  own: '' | 'own' | 'shipped'
}

export const noFilters = (): Filters => ({ q: '', state: '', category: '', audience: '', region: '', to_check: false, own: '' })

export const filters = reactive<Filters>(noFilters())
