create table public.posts (
    id bigint primary key,
    user_id bigint not null,
    title text not null,
    body text not null
);
create table public.comments (
    id bigint primary key,
    post_id bigint not null references public.posts on delete cascade,
    name text not null,
    email text not null,
    body text not null
);
