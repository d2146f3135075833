/** The pages. Addresses carry ids only, after the #, so that they are not sent to any server. */
import { createRouter, createWebHashHistory } from 'vue-router'

export interface Page {
  path: string
  name: string
  label: string
  /** Whoever may do one of these sees it in the menu. */
  needs: string[]
}

export const PAGES: readonly Page[] = [
  { path: '/', name: 'bench', label: '会话', needs: ['look'] },
  { path: '/tasks', name: 'tasks', label: '任务', needs: ['tasks.read'] },
  { path: '/templates', name: 'templates', label: '模板', needs: ['templates.draft', 'templates.approve'] },
  { path: '/knowledge', name: 'knowledge', label: '知识库', needs: ['entries.desk'] },
  { path: '/review', name: 'review', label: '复核样本', needs: ['review'] },
  { path: '/drift', name: 'drift', label: '识别质量', needs: ['drift.read'] },
  { path: '/roster', name: 'roster', label: '值班', needs: ['shifts.read'] },
  { path: '/staff', name: 'staff', label: '人员', needs: ['staff.manage'] },
  { path: '/audit', name: 'audit', label: '核对', needs: ['audit.read'] },
]

export const router = createRouter({
  history: createWebHashHistory('/desk/'),
  routes: [
    { path: '/', name: 'bench', component: () => import('./pages/Bench.vue') },
    { path: '/c/:id(\\d+)', name: 'conversation', component: () => import('./pages/Bench.vue'), meta: { menu: 'bench' } },
    { path: '/tasks', name: 'tasks', component: () => import('./pages/Tasks.vue') },
    { path: '/templates', name: 'templates', component: () => import('./pages/Templates.vue') },
    { path: '/knowledge', name: 'knowledge', component: () => import('./pages/Knowledge.vue') },
    { path: '/knowledge/:entry([a-z0-9_.-]+)', name: 'entry', component: () => import('./pages/Entry.vue'), meta: { menu: 'knowledge' } },
    { path: '/unanswered', name: 'unanswered', component: () => import('./pages/Unanswered.vue'), meta: { menu: 'knowledge' } },
    { path: '/from-case', name: 'from-case', component: () => import('./pages/FromCase.vue'), meta: { menu: 'knowledge' } },
    { path: '/laws', name: 'laws', component: () => import('./pages/Laws.vue'), meta: { menu: 'knowledge' } },
    { path: '/try', name: 'try', component: () => import('./pages/Try.vue'), meta: { menu: 'knowledge' } },
    { path: '/review', name: 'review', component: () => import('./pages/Review.vue') },
    { path: '/drift', name: 'drift', component: () => import('./pages/Drift.vue') },
    { path: '/roster', name: 'roster', component: () => import('./pages/Roster.vue') },
    { path: '/staff', name: 'staff', component: () => import('./pages/Staff.vue') },
    { path: '/audit', name: 'audit', component: () => import('./pages/Audit.vue') },
    { path: '/:rest(.*)*', redirect: '/' },
  ],
})
