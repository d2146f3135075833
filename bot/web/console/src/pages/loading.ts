/** What every list page does: fetch, say when it could not, fetch again. */
import { ElMessage } from 'element-plus'
import 'element-plus/es/components/message/style/css'
import { type Ref, onMounted, ref, watch } from 'vue'
import { words } from '../api/http'
import { useBench } from '../stores/bench'

export interface Loading<T> {
  value: Ref<T>
  trouble: Ref<string>
  ready: Ref<boolean>
  load: () => Promise<void>
  /** Do something, then fetch again; says what happened either way. */
  act: (work: () => Promise<unknown>, done: string) => Promise<boolean>
}

export function useLoading<T>(empty: T, fetch: () => Promise<T>): Loading<T> {
  const value = ref(empty) as Ref<T>
  const trouble = ref('')
  const ready = ref(false)

  async function load(): Promise<void> {
    try {
      value.value = await fetch()
      trouble.value = ''
    } catch (error) {
      trouble.value = `没有取到：${words(error)}`
    }
    ready.value = true
  }

  async function act(work: () => Promise<unknown>, done: string): Promise<boolean> {
    try {
      await work()
      ElMessage.success(done)
      await load()
      return true
    } catch (error) {
      ElMessage.error({ message: `没有成功：${words(error)}`, duration: 8000 })
      return false
    }
  }

  onMounted(load)
  const bench = useBench()
  watch(() => bench.otherNews, load)
  return { value, trouble, ready, load, act }
}
